"""Figures that ``rnnbench compare --save`` and ``rnnbench roofline --save`` left.

They lie in ``<results_dir>/comparison/<host>.jsonl`` and ``<results_dir>/roofline/<host>.jsonl``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from reports.data import kept
from rnnbench.comparison.plan import case_from_dict
from rnnbench.roofline import store
from rnnbench.roofline.model import Attainable, attainable
from rnnbench.roofline.store import NoRooflineError, Roof, Roofline
from rnnbench.spec import Case

FOLDER = "comparison"
OURS, BASELINE = "numba", "native"
SHOWN_AS = {
    "native": "torch.nn",
    "compile": "torch.compile",
    "onnxruntime": "ONNX Runtime",
    "jax": "JAX",
}
"""Names that a reader knows better than the backends' own."""


class Ratio(NamedTuple):
    """A ratio of speeds with its 95 % interval; above 1 ours is the faster."""

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """``faster`` or ``slower`` where the interval excludes 1, else ``unclear``."""
        if self.low > 1:
            return "faster"
        return "slower" if self.high < 1 else "unclear"


@dataclass(frozen=True)
class Result:
    """One backend in one case; without a time where the status is not ``ok``.

    over    the other backend → how many times as fast as that; torch.nn and the fastest peer
    """

    backend: str
    status: str
    detail: str
    seconds: float
    gflops: float
    over: Mapping[str, Ratio]

    @property
    def timed(self) -> bool:
        return self.status == "ok"


@dataclass(frozen=True)
class Compared:
    """One case on so many threads: what each backend did, and which of the peers was fastest."""

    case: Case
    threads: int
    at: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    peer: str | None
    results: Mapping[str, Result]

    @property
    def ours(self) -> Result | None:
        return self.results.get(OURS)

    @property
    def has_peers(self) -> bool:
        """True if a peer other than torch.nn was timed."""
        others = set(SHOWN_AS) - {BASELINE}
        return any(found.timed for name, found in self.results.items() if name in others)


@dataclass
class Machine:
    """All that was compared on one host, and its roofline or why there is none."""

    host: str
    compared: list[Compared] = field(default_factory=list)
    roofline: Roofline | None = None
    no_roofline: str = ""

    def roof(self, one: Compared) -> Roof | None:
        """Return the roof for a case: of the same processor and number of threads."""
        if self.roofline is None or self.roofline.machine != one.machine:
            return None
        return self.roofline.of(one.threads)

    def attainable(self, one: Compared) -> Attainable | None:
        """Return what the roofline allows the case; None without one."""
        roof = self.roof(one)
        return attainable(one.case, roof) if roof else None


def read(results_dir: Path, problems: list[str]) -> dict[str, Machine]:
    """Return machines by their host; what could not be read is added to ``problems``."""
    found = kept.newest(
        results_dir / FOLDER, _compared, lambda one: (one.case.name, one.threads), problems
    )
    machines = {host: Machine(host, compared) for host, compared in found.items()}
    for path in sorted((results_dir / store.FOLDER).glob("*.jsonl")):
        machines.setdefault(path.stem, Machine(path.stem))
    for machine in machines.values():
        try:
            machine.roofline = store.read(store.path(results_dir, machine.host))
        except NoRooflineError as error:
            machine.no_roofline = str(error)
    return machines


def _compared(line: Mapping[str, Any]) -> Compared:
    peer = line["fastest_reference"]
    return Compared(
        case_from_dict(line["case"]),
        int(line["threads"]),
        str(line["at"]),
        dict(line["machine"]),
        dict(line["versions"]),
        peer,
        {given["backend"]: _result(given, peer) for given in line["lines"]},
    )


def _result(given: Mapping[str, Any], peer: str | None) -> Result:
    ratios = {peer: given["ratio_to_fastest_reference"], BASELINE: given["ratio_to_native"]}
    return Result(
        given["backend"],
        given["status"],
        given["detail"],
        math.nan if given["median"] is None else given["median"],
        math.nan if given["gflops"] is None else given["gflops"],
        {name: Ratio(*ratio) for name, ratio in ratios.items() if name and ratio},
    )
