"""asv plugin: after ``asv publish`` the site is ours, complete and offline.

asv imports this module at every command, so at import it costs asv and the standard library only;
pandas and Jinja are imported when a site is really written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asv.publishing import OutputPublisher


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
        from rnnbench.judge.site.publish import explorer
        from rnnbench.judge.site.data import site

        html_dir = Path(conf.html_dir)
        site = site.load(conf, revisions)
        site.revisions = revisions
        site.find_histories()
        explorer.remove_asv_pages(html_dir)
        explorer.install(html_dir, site.commits, [path for path, _ in graphs])
        explorer.declare_direction(benchmarks)
        site.write(site, html_dir)
