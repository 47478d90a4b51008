"""What ``rnnbench compare --save`` and ``rnnbench roofline --save`` left beside asv's results.

Read are ``<results_dir>/comparison/<host>.jsonl``, of which the newest line of each case counts,
and ``<results_dir>/roofline/<host>.jsonl``. What cannot be read becomes a problem in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rnnbench.judge.site.data.records import json_lines
from rnnbench.comparison.plan import case_from_dict
from rnnbench.roofline import store
from rnnbench.roofline.model import Attainable, attainable
from rnnbench.roofline.store import NoRooflineError, Roof, Roofline
from rnnbench.spec import Case

SCHEMA = 1
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
    """How many times as fast, with the 95 % interval."""

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

    over    the backend compared with → how many times as fast as that; torch.nn and the fastest of
            all that are not ours
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
        """Whether one of those but torch.nn was timed."""
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
        """The roof that holds for a case: of the same processor and number of threads."""
        if self.roofline is None or self.roofline.machine != one.machine:
            return None
        return self.roofline.of(one.threads)

    def attainable(self, one: Compared) -> Attainable | None:
        """What the roofline allows the case; None without one."""
        roof = self.roof(one)
        return attainable(one.case, roof) if roof else None


def read(results_dir: Path) -> tuple[dict[str, Machine], list[str]]:
    """Machines by their host, and a sentence for each thing that could not be read."""
    machines: dict[str, Machine] = {}
    problems: list[str] = []
    for path in sorted((results_dir / FOLDER).glob("*.jsonl")):
        found = list(json_lines(path))
        newest: dict[tuple[str, int], Compared] = {}
        for line in found:
            one = _compared(line)
            if one is not None:
                newest[one.case.name, one.threads] = one
        broken = sum(_compared(line) is None for line in found)
        if broken:
            problems.append(f"{FOLDER}/{path.name}: {broken} broken line(s) passed over.")
        machines[path.stem] = Machine(path.stem, list(newest.values()))
    for path in sorted((results_dir / store.FOLDER).glob("*.jsonl")):
        machines.setdefault(path.stem, Machine(path.stem))
    for machine in machines.values():
        try:
            machine.roofline = store.read(store.path(results_dir, machine.host))
        except NoRooflineError as error:
            machine.no_roofline = str(error)
    return machines, problems


def _compared(line: Mapping[str, Any] | None) -> Compared | None:
    """None for a line of another schema, or one that lacks something."""
    try:
        if line is None or line["schema"] != SCHEMA:
            return None
        results = [_result(given, line["fastest_reference"]) for given in line["lines"]]
        return Compared(
            case_from_dict(line["case"]),
            int(line["threads"]),
            str(line["at"]),
            dict(line["machine"]),
            dict(line["versions"]),
            line["fastest_reference"],
            {result.backend: result for result in results},
        )
    except (KeyError, TypeError, ValueError):
        return None


def _result(given: Mapping[str, Any], peer: str | None) -> Result:
    ratios = {peer: given["ratio_to_fastest_reference"], BASELINE: given["ratio_to_native"]}
    nan = float("nan")
    return Result(
        given["backend"],
        given["status"],
        given["detail"],
        nan if given["median"] is None else given["median"],
        nan if given["gflops"] is None else given["gflops"],
        {name: Ratio(*ratio) for name, ratio in ratios.items() if name and ratio},
    )
