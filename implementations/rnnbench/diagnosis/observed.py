"""Mistakes that only this candidate can have made, told by what its calls were seen to do.

They are no part of the catalogue, as their numbers depend on the candidate: a weight that it scales
by a factor of its own, parameters that torch's cells do not have. A scaled weight is named only
where it gives the same numbers; the others only where all is right up to one step, or with the
extra parameters at zero (`findings.OBSERVED`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from rnnbench.diagnosis.adapter import Adapter
from rnnbench.diagnosis.findings import Explanation
from rnnbench.diagnosis.trials import Trial, attempt
from rnnbench.mistakes import CATALOGUE, Mistake
from rnnbench.mistakes.network import At
from rnnbench.parity.budget import relative_error, rule
from rnnbench.spec import UNIT_ROUNDOFF


def special_mistakes(adapter: Adapter, trial: Trial) -> list[Mistake]:
    """Return mistakes made for the candidate: its weights scaled as a call leaves them."""
    match, T = adapter.match, trial.problem.case.T
    if match is None or not match.scaled:
        return []
    match.scaled.clear()
    attempt(adapter, trial.solved)
    return [
        _scaled(name, factor, T, when)
        for name, factor in match.scaled.items()
        for when in ("before every step", "after every step", "once")
    ]


def _scaled(name: str, factor: float, T: int, when: str) -> Mistake:
    """A weight multiplied in place, once or at every step, by ``factor`` in a call of T steps."""
    kind, _, end = name.rpartition("_l")
    layer, reverse = int(end.partition("_")[0]), end.endswith("reverse")
    each = factor if when == "once" else abs(factor) ** (1 / T)

    def act(weights: Mapping[str, Tensor], at: At) -> Mapping[str, Tensor]:
        if at.layer != layer or bool(at.direction) != reverse:
            return weights
        power = {"once": 1, "before every step": at.step + 1, "after every step": at.step}[when]
        return dict(weights) | {kind: weights[kind] * each**power}

    return Mistake(
        "weights_changed_in_place",
        f"The call multiplies a weight in place, {name} by {each:.4g} {when}, and the next call "
        "begins with what is left.",
        "W.data.mul_(…), normalisation or decay of weights inside forward",
        f"W ← {each:.4g} W {when}",
        "W stays as it is while the network runs",
        ("output", "h_n"),
        ("step_weights",),
        (),
        act,
    )


def observed(adapter: Adapter, trials: Sequence[Trial]) -> Explanation | None:
    """Return what the candidate was seen to do, where that is all that is wrong with it."""
    return _extra_term(adapter, trials) or _not_finite(trials)


def _not_finite(trials: Sequence[Trial]) -> Explanation | None:
    """The output is right up to a step, and no number from there on."""
    for trial in trials:
        got, right = trial.numbers("output"), trial.solved.expected.get("output")
        if got is None or right is None or got.shape != right.shape:
            continue
        bad = [t for t in range(len(got)) if not np.isfinite(got[t]).all()]
        if not bad or not bad[0]:
            continue
        unit = UNIT_ROUNDOFF[trial.problem.case.spec.dtype]
        if relative_error(got[: bad[0]], right[: bad[0]], unit) <= rule(
            trial.problem.case, "output"
        ):
            t = bad[0]
            return Explanation(
                "not_finite_from_one_step",
                f"The output is right up to step {t} and not finite at step {t + 1} (t = {t}), "
                "where a number is divided by zero, its logarithm or root taken, or overflows.",
                "divisions by a norm or a standard deviation of zero, exp without a bound",
                f"y_{t} = nan",
                f"y_{t} finite, as tanh and σ are everywhere",
            )
    return None


def _extra_term(adapter: Adapter, trials: Sequence[Trial]) -> Explanation | None:
    """The candidate is right with the parameters that torch's cell does not have set to zero."""
    match = adapter.match
    extra = [slot for slot in match.unmatched if slot.registered] if match is not None else []
    if not extra:
        return None
    try:
        for slot in extra:
            slot.write(torch.nn.Parameter(torch.zeros_like(slot.tensor)))
        right = not any(attempt(adapter, trial.solved).failed for trial in trials)
    finally:
        for slot in extra:
            slot.write(slot.tensor)
    if not right:
        return None
    vectors = all(slot.size % adapter.spec.hidden_size == 0 for slot in extra)
    held = ", ".join(f"{slot.path} {slot.shape}" for slot in extra[:6])
    peephole = CATALOGUE["lstm_peephole"]
    if adapter.spec.cell == "lstm" and vectors:
        texts = (peephole.id, peephole.where, "i, f = σ(a + u + p ⊙ c_{t−1})", peephole.right)
    else:
        texts = ("extra_parameters", "variants of the cells with a term more", "a + u + …", "a + u")
    name, where, wrong, meant = texts
    sentence = f"It has a term that torch's cell does not have: with {held} zero it is right."
    return Explanation(name, sentence, where, wrong, meant)
