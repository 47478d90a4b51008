"""Plan of a search: N slots, each of which needs one result.

The parameters of a slot are the grid's point, or drawn with the seed (seed, slot): a search that
was killed and resumed tries the same parameters. With TPE (Bergstra et al. 2011) they depend on the
earlier results as well: with one worker the same holds, with several the order of their results
decides.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rnnbench.errors import BrokenError, InputError
from rnnbench.training.settings import Settings

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import Trial

STRATEGIES = ("grid", "random", "tpe")
SEEDS_APART = 1_000_003
"""A prime: slot k of seed s has the sampler's seed s · prime + k."""


class SearchError(BrokenError):
    """The search cannot go on; the message gives the reason."""


@dataclass(frozen=True)
class Space:
    """Values of each parameter.

    The grid takes these values; random and TPE choose among the sizes, and between the smallest and
    the largest lr (on a logarithmic scale) and dropout.
    """

    lr: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2)
    hidden_size: tuple[int, ...] = (32, 64)
    layers: tuple[int, ...] = (1, 2)
    dropout: tuple[float, ...] = (0.0, 0.3)

    def __post_init__(self) -> None:
        for name, values in asdict(self).items():
            if not values or len(set(values)) < len(values):
                raise InputError(f"{name} must be one or more different values; got {values!r}")

    @property
    def grid(self) -> list[dict[str, Any]]:
        """Every combination of the values."""
        axes = asdict(self)
        return [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Return the trial's parameters, drawn by its study's sampler where it has none yet."""
        return {
            "lr": trial.suggest_float("lr", min(self.lr), max(self.lr), log=True),
            "hidden_size": trial.suggest_categorical("hidden_size", self.hidden_size),
            "layers": trial.suggest_categorical("layers", self.layers),
            "dropout": trial.suggest_float("dropout", min(self.dropout), max(self.dropout)),
        }


@dataclass(frozen=True)
class Plan:
    """Plan of a search. Raises InputError, naming the argument, for what cannot be searched.

    base     settings of every trial, apart from the parameters searched
    trials   N; a grid always has all its points
    """

    strategy: str = "tpe"
    trials: int = 20
    seed: int = 0
    backend: str = "numba"
    base: Settings = field(default_factory=lambda: Settings(epochs=10))
    space: Space = field(default_factory=Space)

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            known = ", ".join(map(repr, STRATEGIES))
            raise InputError(f"strategy must be one of {known}; got {self.strategy!r}")
        if self.trials < 1:
            raise InputError(f"trials must be at least 1; got {self.trials!r}")
        for point in self.space.grid:
            self.settings(point)
        if self.strategy == "grid":
            object.__setattr__(self, "trials", len(self.space.grid))

    def settings(self, parameters: Mapping[str, Any]) -> Settings:
        """Return the settings of one trial."""
        return replace(self.base, **parameters)

    def fixed(self, slot: int) -> dict[str, Any]:
        """Return the parameters that are known before a trial begins: the grid's, or none."""
        return self.space.grid[slot] if self.strategy == "grid" else {}

    def sampler(self, slot: int) -> BaseSampler:
        """Return the sampler that draws the parameters of a slot that has none yet."""
        from optuna.samplers import RandomSampler, TPESampler

        seed = (self.seed * SEEDS_APART + slot) % 2**32
        if self.strategy == "tpe":
            return TPESampler(seed=seed, constant_liar=True)
        return RandomSampler(seed=seed)

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as JSON has it, with lists for tuples: plans are compared by it."""
        found = asdict(self)
        found["space"] = {name: list(values) for name, values in found["space"].items()}
        return found
