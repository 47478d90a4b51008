"""asv plugin: after ``asv publish`` the site is ours, complete and offline.

asv imports this module at every command, so at import it costs asv and the standard library only;
pandas and Jinja are imported when a site is really written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asv.publishing import OutputPublisher  # type: ignore[import-untyped]


class RnnbenchReport(OutputPublisher):  # type: ignore[misc]
    """Replace asv's pages, which need four CDNs, by the overview and the history explorer.

    ``order`` stays at its default, infinity, so this runs last of all publishers; asv writes
    ``index.json`` after it.
    """

    name = "overview"
    button_label = "Overview"
    description = "The latest results: parity, speed against native, costs, environment"

    @classmethod
    def publish(
        cls,
        conf: Any,
        repo: Any,
        benchmarks: dict[str, dict[str, Any]],
        graphs: Any,
        revisions: dict[str, int],
    ) -> None:
        """Write the site into ``conf.html_dir``, which asv has filled with its own files."""
        from . import (
            commits,
            comparisons,
            curves,
            explorer,
            overview,
            rows,
            speed_page,
            torch_page,
            training_page,
        )

        html_dir = Path(conf.html_dir)
        loaded = rows.read_results(Path(conf.results_dir))
        known = commits.describe(conf, set(loaded.rows["commit"]) | set(revisions))
        explorer.remove_asv_pages(html_dir)
        explorer.install(html_dir, known, [path for path, _ in graphs])
        explorer.declare_direction(benchmarks)
        learning, unread = curves.read(Path(conf.results_dir))
        loaded.problems += unread
        page = overview.render(loaded, known, project=conf.project, learning=learning)
        (html_dir / "index.html").write_text(page, encoding="utf-8")
        machines, problems = comparisons.read(Path(conf.results_dir))
        speed = speed_page.render(loaded, machines, problems, project=conf.project)
        (html_dir / "speed.html").write_text(speed, encoding="utf-8")
        facts = torch_page.render(Path(conf.results_dir), project=conf.project)
        (html_dir / "torch.html").write_text(facts, encoding="utf-8")
        trained = training_page.render(Path(conf.results_dir), project=conf.project)
        (html_dir / "training.html").write_text(trained, encoding="utf-8")
