"""The request for a night, and its progress."""

from __future__ import annotations

from dataclasses import dataclass, field

from rnnbench.errors import InputError
from rnnbench.judge.nightly import units
from rnnbench.judge.nightly.units import Shard


@dataclass(frozen=True)
class Plan:
    """The request for a night."""

    budget: float
    shard: Shard = field(default_factory=Shard)
    bench: tuple[str, ...] = ()
    """Only cases that match one of these patterns."""
    commits: int = 20
    unit_cases: int = units.UNIT_CASES
    verdict_share: float = 0.4
    calibrate_share: float = 0.1
    base: str | None = None
    """The commit that head is judged against; None for the last clean one."""
    threshold: float = 0.05
    """The relative change that the verdict is to find or to exclude."""

    def __post_init__(self) -> None:
        if not self.budget > 0:
            raise InputError(f"budget must be seconds above 0; got {self.budget!r}")
        for name in ("commits", "unit_cases"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1; got {getattr(self, name)!r}")
        for name in ("verdict_share", "calibrate_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be between 0 and 1; got {getattr(self, name)!r}")
        if self.verdict_share + self.calibrate_share > 1:
            raise InputError("verdict_share and calibrate_share must not be more than 1 together")

    @property
    def judges(self) -> bool:
        """True for the first shard of a fleet, which alone judges head, and calibrates."""
        return self.shard.i == 1


@dataclass(frozen=True)
class Step:
    """Progress of a night."""

    what: str
    done: int = 0
    total: int = 0
    seconds_left: float | None = None
    """By how long earlier ones took, negative past that; None where nothing is known yet."""
