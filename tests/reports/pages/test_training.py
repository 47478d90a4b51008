"""The page "Training": every figure has its place, and what was not run says how to run it."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from markupsafe import escape
from reports.charts import training as chart
from reports.data import kept, trainings
from reports.data.report import Report
from reports.data.rows import frame
from reports.jobs import training_runs
from reports.pages import training

from rnnbench.judge.site.html.page import Frame

MARKUP = "<script>alert(1)</script>"
SETTINGS = {
    "task": "japanese_vowels", "cell": "gru", "hidden_size": 64, "layers": 1, "directions": 2,
    "dropout": 0.2, "optimiser": "adam", "lr": 0.005, "clip": 1.0, "epochs": 2, "batch": 27,
    "seed": 0, "T": 100, "size": 1000, "reading": "own_last_step",
}  # fmt: skip


def run(backend="native", status="ok", scores=(0.5, 0.96), seconds=(1.0, 2.0), **changes):
    curve = {
        "losses": [2.0, 1.0],
        "norms": [0.5, 4.0],
        "seconds": list(seconds),
        "scores": list(scores),
        "test_losses": [1.0, 0.5],
        "divergence": None,
    }
    return {
        "backend": backend,
        "status": status,
        "detail": "",
        "warm_up_seconds": 0.1,
        "resumed_epochs": 0,
        "alone": None,
        "band": {"share": 0.25, "gated_steps": 2},
        "curve": curve,
        "epochs_to_target": 2,
        "seconds_to_target": seconds[-1] if seconds else None,
    } | changes


def line(*runs, band=True, **changes):
    exact = run()["curve"]
    widths = {"loss": [4.0, 5.0], "gradient norm": [4.0, None], "test loss": [4.0, 4.0]}
    settings = SETTINGS | changes
    kind = "classification" if settings["task"] == "japanese_vowels" else "regression"
    return {
        "schema": kept.SCHEMA,
        "at": "2026-11-22T10:00:00+00:00",
        "machine": {"host": "here", "cpu": "a processor"},
        "versions": {"torch": "2.13.0"},
        "threads": 1,
        "settings": settings,
        "task": {"kind": kind, "train": 270, "test": 370},
        "target": 0.95,
        "band": {"curve": exact, "widths": widths, "scores": [0.95, 0.97]} if band else None,
        "runs": list(runs),
    }


def study(**changes):
    trial = {
        "slot": 0, "number": 0, "value": 0.9, "lr": 1e-3, "hidden_size": 32, "layers": 1,
        "dropout": 0.1, "seconds": 0.5, "diverged": None,
    }  # fmt: skip
    wild = trial | {"slot": 2, "value": None, "seconds": None, "diverged": "loss became nan"}
    return {
        "schema": kept.SCHEMA,
        "at": "2026-11-22T10:00:00+00:00",
        "study": "vowels",
        "plan": {"strategy": "tpe", "trials": 4, "base": SETTINGS},
        "failed": 1,
        "trials": [trial, trial | {"slot": 1, "value": 0.95, "layers": 2}, wild],
        "best": 1,
        "test": 0.97,
    } | changes


def render(results):
    """The page of what was kept."""
    report = Report(frame([], {}))
    report.trained = trainings.read(results, report.trained_problems)
    return training.render(report, Frame("rnnbench"))


@pytest.fixture
def page(tmp_path):
    """Writes lines and renders."""

    def write(lines=(), studies=()):
        for folder, found in ((trainings.TRAINING, lines), (trainings.SEARCH, studies)):
            (tmp_path / folder).mkdir(exist_ok=True)
            text = "".join(json.dumps(one) + "\n" for one in found)
            (tmp_path / folder / "here.jsonl").write_text(text)
        return render(tmp_path)

    return write


def test_backends_stand_side_by_side_with_their_ratio(page):
    fast = run("numba", seconds=(0.5, 1.0))
    found = page([line(run(), fast)])
    assert "2.00×" in found
    assert "25 %" in found
    assert "96.0 %" in found
    assert "✔ ok" in found
    assert found.count('role="img"') == 4
    assert "with roundings alone runs end at 95.0 % to 97.0 %" in found


def test_who_left_the_band_or_stopped_is_red_with_its_account(page):
    left = run("numba", "left the band", detail="loss in step 3 is 9 eps from the oracle's run")
    stopped = run("mine", "diverged", scores=(), seconds=(), band=None, seconds_to_target=None)
    found = page([line(run(), left, stopped | {"detail": "loss became nan in step 2"})])
    assert "✖ left the band" in found
    assert "✖ diverged" in found
    assert "loss in step 3 is 9 eps" in found
    assert "loss became nan in step 2" in found


def test_clipping_shows_the_norms_of_both(page):
    wild = run(status="diverged", detail="gradient became inf")
    wild["curve"]["norms"] = [1.0, 1e9]
    found = page([line(run(), band=False), line(wild, band=False, clip=0.0)])
    assert "no clipping" in found
    assert "1,000,000,000" in found
    assert "gradient became inf" in found


def test_a_planted_mistake_has_its_cost_in_points_and_its_seeds(page):
    right = [
        line(run(scores=(0.5, s), alone=1.0), band=False, seed=n)
        for n, s in enumerate((0.98, 0.96))
    ]
    wrong = [
        line(run(scores=(0.1, s), alone=0.5), band=False, seed=n, reading="padded_last_step")
        for n, s in enumerate((0.10, 0.20))
    ]
    found = page([*right, *wrong])
    assert "Means over 2 seeds" in found
    assert "82.0 points" in found
    assert "padded_last_step" in found
    assert "50.0 %" in found
    assert "within the seeds" not in found


def test_a_cost_that_seeds_explain_is_said_to_be_that(page):
    right = [line(run(scores=(s,)), band=False, seed=n) for n, s in enumerate((0.98, 0.96))]
    other = [
        line(run(scores=(s,)), band=False, seed=n, reading="reverse_starts_in_padding")
        for n, s in enumerate((0.97, 0.95))
    ]
    found = page([*right, *other])
    assert "1.0 points" in found
    assert "within the seeds’ spread" in found


def test_long_lags_have_a_chart_for_each_length(page):
    found = page(
        [
            line(run(scores=(0.1, 0.01)), band=False, task="adding", T=T, cell=cell)
            for T in (100, 400)
            for cell in ("gru", "rnn_tanh")
        ]
    )
    assert "T=100, 2 epochs" in found
    assert "T=400, 2 epochs" in found


def test_a_search_shows_its_trials_the_best_first(page):
    found = page([], [study()])
    assert found.index("slot 1") < found.index("slot 0")
    assert "Slot 1, trained on the whole training part: 97.0 % of the test part" in found
    assert "3 of 4 slots have their result; tries that came to nothing: 1" in found
    assert "Slot 2 diverged: loss became nan" in found


def test_the_newest_line_of_the_same_settings_counts(page):
    found = page([line(run("old")), line(run("new"))])
    assert "new" in found
    assert ">old<" not in found


def test_what_was_not_run_says_how_to_run_it(page, tmp_path):
    empty = render(tmp_path / "nothing")
    assert "Nothing was trained on any machine yet" in empty
    assert training.COMMAND in empty
    assert page([line(run())]).count("Not run:") == 4


@pytest.mark.parametrize("broken", ["{half", '{"schema": 99}', '{"schema": 1, "at": 3}', "[]"])
def test_a_broken_line_is_a_problem_in_words(tmp_path, broken):
    folder = tmp_path / trainings.TRAINING
    folder.mkdir()
    (folder / "here.jsonl").write_text(broken + "\n" + json.dumps(line(run())) + "\n")
    found = render(tmp_path)
    assert "1 broken line(s) passed over" in found
    assert "✔ ok" in found


def test_markup_in_any_name_is_shown_and_not_run(page):
    wild = line(run(MARKUP, detail=MARKUP)) | {"versions": {"torch": MARKUP}}
    found = page([wild], [study(study=MARKUP)])
    assert MARKUP not in found
    assert str(escape(MARKUP)) in found


def test_charts_are_well_formed_and_hold_gaps():
    lines = [
        chart.Line("a & b", [1.0, None, 0.0, float("nan"), 100.0], 0),
        chart.Line("none", [], 1),
    ]
    picture = chart.plot(
        "t", "d", [*lines, chart.Line("limit", [float("inf")], None)], "step", "up"
    )
    root = ElementTree.fromstring(picture)
    space = "{http://www.w3.org/2000/svg}"
    (only,) = root.iter(f"{space}polyline")
    assert len(only.attrib["points"].split()) == 2


def test_a_long_curve_is_thinned_but_keeps_its_end():
    picture = chart.plot("t", "d", [chart.Line("a", [1.0] * 9_999, 0)], "step", "up")
    points = ElementTree.fromstring(picture).find(".//{*}polyline").attrib["points"].split()
    assert len(points) <= chart.POINTS + 1
    assert points[-1].startswith(f"{chart.RIGHT:.1f},")


def test_every_run_of_the_page_is_a_call_that_the_command_takes():
    from typer.main import get_command

    from rnnbench.cli import app

    commands = get_command(app).commands
    for calls in training_runs.RUNS.values():
        for name, *arguments in calls:
            commands[name].make_context(name, [*arguments], resilient_parsing=False)
