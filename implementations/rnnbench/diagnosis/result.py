"""What a diagnosis says, as data: it prints as an account, goes to JSON and back, and to a page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from rnnbench.spec import DIRECTION_SUFFIX, Spec

STATUSES = ("right", "departs", "raised")


@dataclass(frozen=True)
class Place:
    """Where the candidate first departs.

    quantity    as the oracle calls it: "output", "h_n", "c_n", "grad_x", "grad_weight_ih_l0", …
    layer       from 0, as in torch's names; None where it cannot be told
    direction   0 forward, 1 reverse. With ``reads_below``, of the half of its input that the layer
                reads wrongly
    time_step   from 0, in the sequence of ``T`` steps that was given
    gate        letter of the gate, r z n or i f g o; None for plain cells, or where several depart
    error       norm-wise, in eps (unit roundoff of the dtype)
    budget      what rounding explains, in the same unit
    steps       how short a sequence shows it: 1 for a mistake within a step, n for a lag of n − 1
    reads_below whether the layer's own equations are right and what it reads from below is not
    """

    quantity: str
    layer: int | None
    direction: int | None
    time_step: int | None
    gate: str | None
    error: float
    budget: float
    steps: int | None = None
    reads_below: bool = False

    @property
    def backward(self) -> bool:
        return self.quantity.startswith("grad_")


@dataclass(frozen=True)
class Contribution:
    """What one time step adds to the gradient of a weight: norms, and the numbers if they are few.

    Measured as the difference of two runs, one begun at this step and one begun a step later (for
    the reverse direction: ended).
    """

    time_step: int
    theirs: float
    right: float
    error: float
    budget: float
    their_numbers: tuple[float, ...] = ()
    right_numbers: tuple[float, ...] = ()

    @property
    def departs(self) -> bool:
        return not self.error <= self.budget


@dataclass(frozen=True)
class Quantity:
    """The worst of one quantity over all problems."""

    quantity: str
    status: str
    error: float
    budget: float
    case: str
    detail: str = ""

    @property
    def failed(self) -> bool:
        return self.status not in ("ok", "chaotic")


@dataclass(frozen=True)
class Heat:
    """Error over layer and time as a share of the budget, in each pass.

    rows       (layer, direction) of each row
    forward    column t: state of that row after a run that ends there (at T−1 and at 0 for the two
               directions, cut to every length)
    backward   column t: gradients of that row's weights where the pass back ends there
    """

    rows: tuple[tuple[int, int], ...]
    forward: tuple[tuple[float, ...], ...]
    backward: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Explanation:
    """A known mistake, in its own words."""

    id: str
    sentence: str
    where: str
    wrong: str
    right: str


@dataclass
class Diagnosis:
    """Where a candidate first departs from the oracle, and which known mistake explains it.

    cause is an id of `rnnbench.mistakes.CATALOGUE`; two joined by "+" where it takes two; None if
    nothing known gives the candidate's numbers. unsteady says why two equal calls differ; then
    there is neither place nor cause. no_numbers says what was returned in their stead.
    """

    candidate: str
    spec: Spec | None  # None if the candidate ended before its network was known
    status: str
    kind: str
    first_divergence: Place | None = None
    cause: str | None = None
    explanations: list[Explanation] = field(default_factory=list)
    same_numbers: list[str] = field(default_factory=list)
    raised: str = ""
    unsteady: str = ""
    no_numbers: str = ""
    layout: str = ""
    T: int = 0
    quantities: list[Quantity] = field(default_factory=list)
    contributions: list[Contribution] = field(default_factory=list)
    contributions_of: str = ""
    contributions_exact: bool = False
    heat: Heat | None = None
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether everything that could be compared is within its budget."""
        return self.status == "right"

    @property
    def directions(self) -> int:
        return self.spec.directions if self.spec is not None else 1

    def to_dict(self) -> dict[str, Any]:
        """All of it for JSON, which has no infinity: a number that does not exist is null."""
        return {"passed": self.passed, **_plain(asdict(self))}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Diagnosis:
        """The inverse of `to_dict`; null becomes infinity where a number belongs."""
        known = {f.name: data[f.name] for f in fields(cls)}
        known["spec"] = known["spec"] and Spec(**known["spec"])
        place, heat = known["first_divergence"], known["heat"]
        known["first_divergence"] = place and Place(**_numbers(place, "error", "budget"))
        known["heat"] = heat and Heat(
            tuple(map(tuple, heat["rows"])),
            *(
                tuple(tuple(math.inf if v is None else v for v in row) for row in heat[part])
                for part in ("forward", "backward")
            ),
        )
        known["explanations"] = [Explanation(**one) for one in known["explanations"]]
        known["quantities"] = [
            Quantity(**_numbers(q, "error", "budget")) for q in data["quantities"]
        ]
        known["contributions"] = [
            Contribution(**_numbers(c, "theirs", "right", "error", "budget"))
            for c in data["contributions"]
        ]
        return cls(**known)

    def to_html(self) -> str:
        """One self-contained page."""
        from rnnbench.diagnosis.page import page

        return page(self)

    def __bool__(self) -> bool:
        raise TypeError("ask for .passed: a Diagnosis has no truth value of its own")

    def __str__(self) -> str:
        from rnnbench.diagnosis.account import account

        return account(self)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    tuples = {k: tuple(v) for k, v in data.items() if isinstance(v, list)}
    return {**data, **tuples} | {n: math.inf if data[n] is None else data[n] for n in names}


def row_name(layer: int, direction: int, directions: int) -> str:
    """``layer 2 reverse``, counted from one for people."""
    words = ("forward", "reverse")
    return f"layer {layer + 1}" + (f" {words[direction]}" if directions == 2 else "")


def suffix(layer: int, direction: int) -> str:
    """``_l1_reverse``, as torch's names end."""
    return f"_l{layer}{DIRECTION_SUFFIX[direction]}"
