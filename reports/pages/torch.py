"""The page "What torch does": what `torch_facts` saw, machine by machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnnbench.judge.site.html import page
from reports.jobs.torch_facts import FOLDER

SHOWN = ("name", "claim", "consequence", "seen", "holds", "command", "torch", "python", "cpu", "at")


def render(results_dir: Path, project: str, foot: Sequence[str]) -> str:
    """The whole page as text; machines in the order of their names."""
    machines = [(path.stem, _read(path)) for path in sorted((results_dir / FOLDER).glob("*.jsonl"))]
    return page.page("torch.html.j2", project=project, foot=foot, machines=machines)


def _read(path: Path) -> list[dict[str, Any]]:
    """The facts of one machine, every field there; an unreadable file is one broken fact."""
    try:
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [{name: fact.get(name) for name in SHOWN} for fact in found]
    except (ValueError, AttributeError) as error:
        broken = dict.fromkeys(SHOWN)
        return [broken | {"claim": f"{path.name} cannot be read", "seen": str(error)}]
