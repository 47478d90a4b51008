"""asv plugin: ``asv publish`` leaves the site that ``rnnbench publish`` writes.

asv imports this module at every command, so at import it costs asv and the standard library only.
"""

from __future__ import annotations

import atexit
import shutil
from pathlib import Path
from typing import Any

from asv.publishing import OutputPublisher

LATER = ("index.json", "info.json")
"""Files that asv writes after the last publisher."""


class SitePublisher(OutputPublisher):  # type: ignore[misc]
    """Replace asv's site, which needs four other hosts, by ours.

    ``order`` stays at its default, infinity, so this runs last of all publishers. What asv writes
    after it is replaced when the process ends.
    """

    name = "overview"
    button_label = "Overview"
    description = "The latest results, verdicts and changes"

    @classmethod
    def publish(cls, conf: Any, *_: Any) -> None:
        """Write the site into ``conf.html_dir``, which asv has wiped and filled just now."""
        from rnnbench.files import atomic
        from rnnbench.judge.site.publish.publish import publish

        html_dir = Path(conf.html_dir).resolve()
        shutil.rmtree(html_dir)
        publish(conf)
        for name in LATER:
            atexit.register(atomic.write, html_dir / name, (html_dir / name).read_bytes())
