"""The judge's view of a suite of benchmarks, with defaults that suit any suite of asv.

A project says more in modules of its own, named in its asv.conf.json, where asv ignores the key:

    "rnnbench": {"suite": "benchmarks.suite", "pages": "reports.pages"}

suite  defines any of the fields of `Suite` but ``folder``, under the same names. asv imports this
       module too, beside the package of an old commit: at import it needs nothing of rnnbench
pages  defines ``pages(site)``, which returns the project's own pages of the published site:
       a mapping from file name to content

A benchmark whose exception is called `WRONG` is one that gives a wrong result rather than none.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import ModuleType
from typing import Any

from rnnbench.errors import InputError
from rnnbench.judge.verdict.sides import Case

KEY = "rnnbench"
"""Our object in asv.conf.json."""
WRONG = "ParityFailureError"

Choice = Callable[[list[Case]], list[Case]]


@dataclass(frozen=True)
class Suite:
    """A folder of benchmarks (asv's benchmark_dir), and how its project wants it to be judged."""

    folder: Path
    control: str | None = None
    """Name of the benchmark that no commit changes; None: one without parameters in a module
    ``control``, and where there is none, a loop of the interpreter."""
    choose: Choice = list
    """Of all cases, those that a verdict may measure unless told."""
    calibrated: Choice = list
    """Of the cases that a verdict measures, those that error rates are measured on."""
    quantities: Mapping[str, str] = field(default_factory=dict)
    """Benchmark → its quantity, where its type, unit and name say another
    (`rnnbench.judge.verdict.sides.quantity`)."""
    key: Callable[[Case], str | None] | None = None
    """The name by which ``plant`` knows a case, None for one that it can't slow."""
    plant: Callable[[Path, Mapping[str, float]], None] | None = None
    """Slows the package installed in a folder: key of a case → share of its time. May be given no
    case, and then does all but slow. Raises ValueError for a package that it can't slow. None:
    error rates are of A/A verdicts only."""
    counting: Mapping[str, str] = field(default_factory=dict)
    """Variables with which the benchmarks count instructions."""


def load(folder: Path, root: Path, settings: Mapping[str, Any]) -> Suite:
    """Return the suite in ``folder`` of the project in ``root``; ``settings`` are asv.conf.json's.

    Raises InputError for a module that is named and can't be imported.
    """
    module = own_module("suite", root, settings)
    names = [one.name for one in fields(Suite) if one.name != "folder"]
    return Suite(folder, **{name: getattr(module, name) for name in names if hasattr(module, name)})


def own_module(what: str, root: Path, settings: Mapping[str, Any]) -> ModuleType | None:
    """Return the project's module for ``what`` ("suite" or "pages"), None where none is named."""
    named = (settings.get(KEY) or {}).get(what)
    if named is None:
        return None
    if str(root) not in sys.path:
        sys.path.append(str(root))
    try:
        return importlib.import_module(named)
    except ImportError as error:
        raise InputError(f"{KEY}.{what} must be a module below {root}; {named}: {error}") from error
