"""The page "Speed": where we lose in words, the roofline, and what was not measured."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import comparing
import pytest
from comparing import COMPARED, compared
from reports.charts import roofline
from reports.charts.roofline import Point
from reports.data import comparisons
from reports.data.comparisons import Machine
from reports.data.report import Report
from reports.data.rows import load_rows
from reports.pages import speed
from reports.sections import losing
from synthetic import MARKUP, Project

from rnnbench import Case, Spec
from rnnbench.comparison import saving
from rnnbench.comparison.compare import Line
from rnnbench.judge.site.html.page import Frame


def machine(results: Path, *lines: dict[str, Any], roofline: Any = None) -> Machine:
    """Lines written, and read again."""
    comparing.write_comparison(results, list(lines))
    if roofline is not None:
        comparing.write_roofline(results, roofline)
    problems: list[str] = []
    machines = comparisons.read(results, problems)
    assert problems == []
    return machines["bench"]


def page(results: Path) -> str:
    report = Report(load_rows(results))
    report.compared = comparisons.read(results, report.compared_problems)
    return speed.render(report, Frame("synthetic"))


def without_time(line: dict[str, Any], backend: str, status: str, detail: str) -> dict[str, Any]:
    for entry in line["lines"]:
        if entry["backend"] == backend:
            entry |= {"status": status, "detail": detail, "median": None, "gflops": None}
            entry |= {"ratio_to_native": None, "ratio_to_fastest_reference": None}
    return line


# Where we lose.


def test_each_loss_has_its_ratio_interval_rival_and_case(tmp_path: Path) -> None:
    slow = compared("lstm", B=32, H=256, threads=2, speeds=COMPARED | {"numba": 0.8})
    found = losing.losses(machine(tmp_path, slow, compared()).compared)
    own, peers = found
    assert own.headline == "numba is slower than torch.nn in 1 of 2 cases."
    assert own.sentences == [
        "numba is 1.25 times slower than torch.nn (95 % interval 1.23–1.28) in inference of lstm, "
        "B=32, H=256, T=128, 2 threads."
    ]
    assert peers.headline == "numba is slower than the fastest peer in 2 of 2 cases."
    assert "2.12 times slower than ONNX Runtime" in peers.sentences[0]  # the worst first
    assert "1.06 times slower than ONNX Runtime" in peers.sentences[1]


def test_a_loss_within_the_noise_is_counted_and_not_listed(tmp_path: Path) -> None:
    near = compared(speeds={"native": 1.0, "numba": 0.99})
    own, peers = losing.losses(machine(tmp_path, near).compared)
    assert own.sentences == []
    assert "nowhere slower than torch.nn beyond the noise (1 case)." in own.headline
    assert "In 1 more it seems slower, within the noise." in own.headline
    assert peers.sentences == []


def test_where_nothing_is_lost_it_says_that(tmp_path: Path) -> None:
    fast = compared(speeds=COMPARED | {"numba": 3.0})
    for found in losing.losses(machine(tmp_path, fast).compared):
        assert found.sentences == []
        assert "nowhere slower" in found.headline
        assert "seems" not in found.headline


def test_cases_whose_only_peer_is_torch_are_counted(tmp_path: Path) -> None:
    lonely = compared("lstm", speeds={"native": 1.0, "numba": 3.0})
    _, peers = losing.losses(machine(tmp_path, lonely, compared()).compared)
    assert peers.headline.endswith("In 1 case that was torch.nn, as no other was timed.")
    _, peers = losing.losses(machine(tmp_path, compared()).compared)
    assert "no other was timed" not in peers.headline


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("wrong", "its result is not that of the oracle (h_n is over budget)"),
        ("broke", "it broke (h_n is over budget)"),
        ("unsupported", "not supported (h_n is over budget)"),
    ],
)
def test_a_case_without_our_time_is_a_loss_too(tmp_path: Path, status: str, words: str) -> None:
    line = without_time(compared(), "numba", status, "h_n is over budget")
    found = losing.losses(machine(tmp_path, line, compared(B=1)).compared)[-1]
    assert found.headline == "numba has no time in 1 of 2 cases."
    assert words in found.sentences[0]


def test_a_comparison_without_us_says_so(tmp_path: Path) -> None:
    line = compared(speeds={"native": 1.0, "jax": 2.0})
    own, _, absent = losing.losses(machine(tmp_path, line).compared)
    assert own.headline == "numba was not compared with torch.nn."
    assert "not measured" in absent.sentences[0]


def test_what_is_unusual_about_a_case_is_said() -> None:
    spec = Spec("lstm", 3, 8, 2, 2, dtype="float64", proj_size=4)
    words = losing.described(Case(spec, 7, 2))
    assert words == "B=2, H=8, T=7, I=3, P=4, 2 layers, both directions, float64"
    assert losing.described(Case(Spec("gru", 8, 8), 7, 2)) == "B=2, H=8, T=7"


# What was left by the commands.


def test_what_compare_saves_is_what_the_report_reads(tmp_path: Path) -> None:
    case = Case(Spec("gru", 3, 4), 5, 2)
    lines = [
        Line(case, "native", 2, "ok", seconds=(3.0,) * 7),
        Line(case, "numba", 2, "ok", seconds=(1.0,) * 7),
        Line(case, "jax", 2, "ok", seconds=(0.5,) * 7),
        Line(case, "onnxruntime", 2, "unsupported", "no gradients"),
    ]
    path = saving.append(lines, tmp_path)
    assert path.parent.name == comparisons.FOLDER
    problems: list[str] = []
    machines = comparisons.read(tmp_path, problems)
    assert problems == []
    (one,) = machines[path.stem].compared
    assert (one.case, one.threads, one.peer) == (case, 2, "jax")
    assert one.results["numba"].over == {"native": (3.0, 3.0, 3.0), "jax": (0.5, 0.5, 0.5)}
    assert one.results["onnxruntime"].detail == "no gradients"
    assert math.isnan(one.results["onnxruntime"].seconds)


def test_the_newest_line_of_a_case_counts(tmp_path: Path) -> None:
    old, new = compared(speeds=COMPARED | {"numba": 9.0}), compared()
    other = compared(threads=2)
    found = machine(tmp_path, old, other, new).compared
    assert sorted(one.threads for one in found) == [1, 2]
    ours = [one.ours for one in found]
    assert [one.over["native"].value for one in ours if one] == [1.6, 1.6]


@pytest.mark.parametrize(
    "broken",
    [
        "{half",
        "[]",
        json.dumps(compared() | {"schema": 2}),
        json.dumps({k: v for k, v in compared().items() if k != "case"}),
        json.dumps(compared(hidden_size=0)),
        json.dumps(compared() | {"lines": None}),
        json.dumps(compared() | {"machine": None}),
        json.dumps(compared() | {"lines": [7]}),
    ],
)
def test_a_broken_line_costs_itself_alone_and_is_said(tmp_path: Path, broken: str) -> None:
    machine(tmp_path, compared())
    path = tmp_path / "comparison" / "bench.jsonl"
    path.write_text(f"{broken}\n{path.read_text()}")
    problems: list[str] = []
    machines = comparisons.read(tmp_path, problems)
    assert len(machines["bench"].compared) == 1
    assert problems == ["comparison/bench.jsonl: 1 broken line(s) passed over."]
    assert "1 broken line(s)" in page(tmp_path)


def test_a_last_line_cut_short_is_normal(tmp_path: Path) -> None:
    machine(tmp_path, compared())
    path = tmp_path / "comparison" / "bench.jsonl"
    path.write_text(path.read_text() + path.read_text()[:40])
    problems: list[str] = []
    machines = comparisons.read(tmp_path, problems)
    assert problems == []
    assert len(machines["bench"].compared) == 1


# The roofline.


def test_share_is_speed_over_what_the_roofline_allows(tmp_path: Path) -> None:
    found = machine(tmp_path, compared(B=1, H=256), roofline=comparing.roofline())
    (one,) = found.compared
    most = found.attainable(one)
    assert most is not None
    assert most.level == "L2"
    assert one.ours is not None
    share = f"{100 * one.ours.gflops / most.gflops:.0f} %"
    text = page(tmp_path)
    assert text.count(f">{share}<") >= 2  # beside the ratios, and in the roofline's own table
    assert "reads from L2" in text


def test_a_roofline_of_another_processor_holds_for_nothing(tmp_path: Path) -> None:
    other = comparing.roofline() | {"machine": comparing.HOST | {"cpu": "Z80"}}
    found = machine(tmp_path, compared(), roofline=other)
    assert found.attainable(found.compared[0]) is None
    text = page(tmp_path)
    assert "is of another processor" in text
    assert "<svg" in text  # the ratios are there all the same
    assert "Roofline, 1 thread" not in text


def test_threads_without_a_roof_are_said(tmp_path: Path) -> None:
    machine(tmp_path, compared(), compared(threads=2), roofline=comparing.roofline((1,)))
    text = page(tmp_path)
    assert "Roofline, 1 thread, float32" in text
    assert "has nothing for 2 threads" in text
    assert speed.ROOFLINE in text


def test_a_roofline_of_a_busy_machine_is_marked(tmp_path: Path) -> None:
    given = comparing.roofline()
    machine(tmp_path, compared(), roofline=given)
    assert "The machine was busy" not in page(tmp_path)
    given["roofs"][0]["read_gbytes"][1]["median"] = 60.0
    comparing.write_roofline(tmp_path, given)
    assert "▲ The machine was busy" in page(tmp_path)


def test_a_dtype_without_a_peak_is_said(tmp_path: Path) -> None:
    machine(tmp_path, compared(dtype="bfloat16"), roofline=comparing.roofline())
    assert "no peak of bfloat16" in page(tmp_path)


def test_every_case_is_on_the_plot_and_in_its_table(tmp_path: Path) -> None:
    lines = comparing.grid()
    machine(tmp_path, *lines, roofline=comparing.roofline())
    text = page(tmp_path)
    section = text[text.index('id="m0-roofline"') :]
    plot = section[section.index('<svg class="chart"') :]
    plot = plot[: plot.index("</svg>")]
    assert 'role="img"' in plot
    assert plot.count("<g><title>") == len(lines) == 30
    assert "<title>Roofline, 1 thread, float32</title>" in plot
    table = section[section.index("Operations per byte") :]
    assert table[: table.index("</table>")].count("<tr>") == len(lines)


def coordinates(plot: str) -> list[tuple[float, float]]:
    found = re.findall(r'translate\(([-\d.]+),([-\d.]+)\)" d=', plot)
    return [(float(x), float(y)) for x, y in found]


def lines_of(plot: str) -> list[tuple[float, ...]]:
    pattern = r'class="reference" x1="([\d.]+)" x2="([\d.]+)" y1="([\d.]+)" y2="([\d.]+)"'
    return [tuple(map(float, found)) for found in re.findall(pattern, plot)]


def test_a_case_at_its_limit_lies_on_the_line() -> None:
    points = [
        Point(1, 0.25, 0.25 * 200, "on the slope", False),
        Point(1, 64.0, 100.0, "on the peak", False),
        Point(1, 64.0, 50.0, "below", True),
    ]
    plot = str(roofline.plot("t", "d", 100.0, {"L1": 200.0, "memory": 20.0}, points))
    peak, slope, _ = lines_of(plot)
    (x, y), on_peak, below = coordinates(plot)
    x1, x2, y1, y2 = slope
    assert y == pytest.approx(y1 + (x - x1) * (y2 - y1) / (x2 - x1), abs=0.3)
    assert on_peak[1] == pytest.approx(peak[2], abs=0.2)
    assert below[1] > on_peak[1]
    assert (x2, y2) == pytest.approx((peak[0], peak[2]), abs=0.1)  # they meet at the ridge


def test_lines_that_coincide_share_their_words_and_stay_in_the_picture() -> None:
    plot = str(roofline.plot("t", "d", 100.0, {"L1": 200.0, "L2": 198.0}, []))
    assert "L1 200, L2 198 GB/s" in plot
    for x1, x2, y1, y2 in lines_of(plot):
        assert 0 <= x1 <= x2 <= roofline.RIGHT
        assert 0 <= y2 <= y1 <= roofline.BOTTOM


# The page.


def test_nothing_measured_names_both_commands(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert "Nothing was compared on any machine yet" in text
    assert speed.COMPARE in text
    assert speed.ROOFLINE in text


def test_cold_starts_alone_leave_the_rest_to_its_commands(project: Project) -> None:
    project.measure()
    project.write()
    text = page(project.results)
    assert "Nothing was compared on this machine" in text
    assert "Pays off: training" in text


def test_a_comparison_alone_leaves_cold_starts_to_their_command(tmp_path: Path) -> None:
    machine(tmp_path, compared())
    text = page(tmp_path)
    assert "no roofline of this machine is stored" in text.lower()
    assert "tox run -e bench -- --bench" in text


def test_ratio_table_names_peer_and_verdict(tmp_path: Path) -> None:
    machine(tmp_path, compared(B=7, speeds=COMPARED | {"numba": 1.5}))
    text = page(tmp_path)
    assert "▲ 1.50×<small>1.47–1.53</small>" in text
    assert "▼ 0.882×<small>0.865–0.900 · ONNX Runtime</small>" in text
    assert '<th class="num">I</th>' not in text


def test_peers_that_were_not_timed_are_named(tmp_path: Path) -> None:
    machine(tmp_path, compared(), without_time(compared(B=1), "jax", "broke", "no device"))
    text = page(tmp_path)
    assert "<dt>fastest peer of</dt><dd>torch.nn, ONNX Runtime, JAX</dd>" in text
    assert "<dt>peers not timed</dt><dd>torch.compile</dd>" in text


def test_input_size_has_a_column_where_it_differs(tmp_path: Path) -> None:
    machine(tmp_path, compared(input_size=9))
    assert '<th class="num">I</th>' in page(tmp_path)


def test_settings_are_apart(tmp_path: Path) -> None:
    machine(tmp_path, compared(), compared(threads=2), compared(layers=2, directions=2))
    text = page(tmp_path)
    for title in (
        "1 thread, float32, 1 layer, 1 direction",
        "2 threads, float32, 1 layer, 1 direction",
        "1 thread, float32, 2 layers, 2 directions",
    ):
        assert f"<h3>{title}</h3>" in text


def test_failed_parity_is_red_and_has_no_time(tmp_path: Path) -> None:
    machine(tmp_path, without_time(compared(), "numba", "wrong", "h_n"))
    text = page(tmp_path)
    assert '<td class="num bad">parity failed</td>' in text
    assert "numba: parity failed" in text


def test_published_page_escapes_every_name(hostile: Project) -> None:
    text = (hostile.html / "speed.html").read_text(encoding="utf-8")
    assert MARKUP not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 3
    assert "bench&#34;&amp;&lt;b&gt;" in text
