"""Findings of a diagnosis as plain data: the place, the cause, and the figures behind them."""

from __future__ import annotations

from dataclasses import dataclass, field

from rnnbench.spec import DIRECTION_SUFFIX, Spec

OBSERVED = ("not_finite_from_one_step", "extra_parameters")
"""Causes that a run shows, where no planted mistake can give the numbers."""
STATUSES = ("right", "departs", "raised", "nothing")


@dataclass(frozen=True)
class Place:
    """The place where the candidate first departs.

    quantity    as the oracle calls it: "output", "h_n", "c_n", "grad_x", "grad_weight_ih_l0", …
    layer       from 0, as in torch's names; None where it cannot be told
    direction   0 forward, 1 reverse. With ``reads_below``, of the half of its input that the layer
                reads wrongly
    time_step   from 0, in the sequence of ``T`` steps that was given
    gate        letter of the gate, r z n or i f g o; None for plain cells, or where several depart
    error       norm-wise, in eps (unit roundoff of the dtype)
    budget      largest error that rounding explains, in the same unit
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
        """Return whether the place is in the backward pass."""
        return self.quantity.startswith("grad_")


@dataclass(frozen=True)
class Contribution:
    """A step's part of the gradient of a weight: norms, and the numbers if they are few.

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
    """The problem in which one quantity is furthest over, or nearest to, its budget.

    status  "ok", "chaotic", or why it fails: "over budget", "nan", "shape", "missing", …
    error   norm-wise, in eps; budget in the same unit
    """

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
    backward   column t: gradients of that row's weights after a backward pass that ends there
    """

    rows: tuple[tuple[int, int], ...]
    forward: tuple[tuple[float, ...], ...]
    backward: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Explanation:
    """The texts of a known mistake, as in `rnnbench.mistakes.Mistake`."""

    id: str
    sentence: str
    where: str
    wrong: str
    right: str


@dataclass(frozen=True)
class Compared:
    """A tensor of a script beside the part of a quantity that it is held against.

    name, line  as the script calls it, and where it does
    part        which part of the quantity: "at t = 2", "of layer 1", "" for the whole
    how         what shows that it is held against it
    theirs, right   the first numbers of both
    """

    name: str
    line: int
    quantity: str
    part: str
    how: str
    error: float
    budget: float
    failed: bool
    theirs: tuple[float, ...]
    right: tuple[float, ...]


@dataclass(frozen=True)
class Term:
    """A tensor that a script adds to a gradient.

    time_step   the step whose contribution it is, or should be; None where that is not known
    departs     whether it is no step's contribution
    right       what that step adds
    """

    name: str
    line: int
    time_step: int | None
    departs: bool
    theirs: tuple[float, ...]
    right: tuple[float, ...]


@dataclass
class Script:
    """Facts about a candidate that is a whole script.

    network   the module of torch.nn that the answer goes by, as the script calls it
    ended     how it ended, where it did not come to its last line
    trouble   the error that it raised and what would be right, a sentence each; the first answer
    mended    what was mended before it ran (``--repair``)
    terms_of  the name of the tensor that the terms add up to
    advice    what is right in this run and goes wrong in others
    """

    network: str = ""
    ended: str = ""
    trouble: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    compared: list[Compared] = field(default_factory=list)
    terms: list[Term] = field(default_factory=list)
    terms_of: str = ""
    advice: list[str] = field(default_factory=list)


Row = tuple[str, list[tuple[int, float, bool]]]
"""Name of a layer and direction, and for each time step: the step, the error as a share of the
budget, and whether it is the first departure."""


@dataclass
class Findings:
    """Everything that a diagnosis found.

    status               one of `STATUSES`
    cause                an id of `rnnbench.mistakes.CATALOGUE`, two joined by "+" where it takes
                         two, or None where nothing known gives the candidate's numbers
    same_numbers         other mistakes that give the same numbers
    raised               the error that the candidate raised
    unsteady             in what way two equal calls differ; then there is neither place nor cause
    no_numbers           what the candidate returned in place of numbers
    exchanged            which gate stands under which name, where names say another
    guessed              whether several layouts fit and one was taken
    contributions_exact  whether the contributions are those of the steps, or so in name only
    script               what is known besides of a candidate that is a script
    seconds              duration of the diagnosis
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
    exchanged: str = ""
    guessed: bool = False
    T: int = 0
    quantities: list[Quantity] = field(default_factory=list)
    contributions: list[Contribution] = field(default_factory=list)
    contributions_of: str = ""
    contributions_exact: bool = False
    heat: Heat | None = None
    notes: list[str] = field(default_factory=list)
    script: Script | None = None
    seconds: float = 0.0

    @property
    def directions(self) -> int:
        """Number of directions of the network; 1 where it is not known."""
        return self.spec.directions if self.spec is not None else 1

    def row_name(self, layer: int, direction: int) -> str:
        """Return ``layer 2 reverse``, counted from one for people."""
        words = ("forward", "reverse")
        return f"layer {layer + 1}" + (f" {words[direction]}" if self.directions == 2 else "")

    def maps(self) -> dict[bool, list[Row]]:
        """Return the rows of the heat map, the highest layer first, by whether backward.

        Of each pass that there are shares of, and of which the candidate gives anything.
        """
        if self.heat is None:
            return {}
        given = {q.quantity.startswith("grad_") for q in self.quantities}
        passes = {False: self.heat.forward, True: self.heat.backward}
        return {b: self._rows(s, backward=b) for b, s in passes.items() if s and b in given}

    def _rows(self, shares: tuple[tuple[float, ...], ...], *, backward: bool) -> list[Row]:
        assert self.heat is not None
        place, first = self.first_divergence, None
        if place is not None and place.backward == backward:
            first = (place.layer, place.direction, place.time_step)
        rows = [
            (self.row_name(*row), [(t, one, (*row, t) == first) for t, one in enumerate(values)])
            for row, values in zip(self.heat.rows, shares, strict=True)
        ]
        return rows[::-1]


def suffix(layer: int, direction: int) -> str:
    """Return ``_l1_reverse`` and the like, as torch's names of weights end."""
    return f"_l{layer}{DIRECTION_SUFFIX[direction]}"
