"""The page "Crossovers": ties, boundaries, and what moved since the last clean commit."""

from __future__ import annotations

from judgements import slower, verdict, write
from reports.data import report
from reports.pages import crossovers
from synthetic import Project


def winner(*timed: tuple[str, float, float]) -> crossovers.Winner:
    """Of backends with their seconds and relative standard errors."""
    return crossovers._winner({name: (value, error) for name, value, error in timed})


def test_a_near_tie_is_shown_as_a_tie() -> None:
    clear = winner(("numba", 1.0, 0.01), ("native", 1.2, 0.01))
    assert (clear.backend, clear.tied) == ("numba", ())
    assert winner(("numba", 1.0, 0.05), ("native", 1.1, 0.05)).tied == ("native",)
    assert winner(("numba", 1.0, 0.01), ("native", 9.0, float("nan"))).tied == ("native",)


def test_a_boundary_moved_only_beyond_doubt() -> None:
    place = ("inference", "gru", 1, 1, 128, "medium")
    numba = winner(("numba", 1.0, 0.001), ("native", 2.0, 0.001))
    native = winner(("native", 1.0, 0.001), ("numba", 2.0, 0.001))
    tie = winner(("native", 1.0, 0.1), ("numba", 1.01, 0.1))
    (sentence,) = crossovers.moved({place: numba}, {place: native})
    assert sentence.startswith("gru, inference, T=128, medium")
    assert sentence.endswith("native → numba")
    assert crossovers.moved({place: numba}, {place: tie}) == []
    assert crossovers.moved({place: numba}, {}) == []


def test_crossovers_compare_with_the_last_clean_commit(project: Project) -> None:
    project.measure(0)
    run = project.measure(1)
    name = "speed.Inference.time_inference"
    entry = project.benchmarks[name]
    per_backend = len(run.values[name]) // len(entry["params"][0])
    run.values[name][0] /= 100  # native wins the first case now
    assert per_backend > 1
    project.write()
    base, head = project.commits
    write(project.results, verdict(base, head, slower()))
    site = project.load()
    assert site.bases == {"bench": base}
    page = crossovers.render(report.read(site), site.bases, site.frame)
    assert "rnn_tanh, inference, T=16, medium (B=16, H=128): numba → native" in page
