"""Train one network: settings and a backend in, a curve out.

A step is: logits of a batch, loss (cross-entropy, or mean squared error), gradient g of all
parameters, its norm ‖g‖, g ← g · min(1, clip / ‖g‖) (Pascanu, Mikolov and Bengio 2013), optimiser.
Everything random has its seed, and its generator's state is the run's own: runs can be alternated,
and every backend and dtype begins with the same weights, sees the same batches and drops the same
units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from rnnbench import interface
from rnnbench.files.schema import build
from rnnbench.nn.modules import of_spec
from rnnbench.training.network import READINGS, Classifier, chrono
from rnnbench.training.settings import OPTIMISERS, Settings
from rnnbench.training.tasks import CLASSIFICATION, Part, Task

Disturb = Callable[[Sequence[Tensor]], None]
"""Changes the parameters in place, before every step; see `band`."""


@dataclass(frozen=True)
class Divergence:
    """The step in which a run met a number that is not finite, and its state just before.

    what     ``loss``, or ``gradient of`` the first parameter that has one that is not finite
    value    the number, as text: JSON has no NaN
    norms    gradient norms of the last steps before
    largest  size of the largest weight, as text
    where    the parameter that has the largest weight
    """

    epoch: int
    step: int
    what: str
    value: str
    norms: tuple[float, ...]
    largest: str
    where: str
    lr: float
    clip: float

    def __str__(self) -> str:
        norms = ", ".join(f"{norm:.3g}" for norm in self.norms) or "none"
        clipping = f"clip={self.clip:g}" if self.clip else "no clipping"
        return (
            f"{self.what} became {self.value} in step {self.step} (epoch {self.epoch}), with "
            f"lr={self.lr:g} and {clipping}; gradient norms of the steps before: {norms}; largest "
            f"weight {float(self.largest):.3g}, in {self.where}. A smaller lr, or a clip near the "
            "norms that the first steps had, is what helps"
        )


@dataclass
class Curve:
    """Figures of a run: two for each step, three for each epoch.

    losses      of each step's batch, before the step
    norms       of each step's whole gradient, before clipping
    seconds     training alone, from the start to the end of each epoch
    scores      on the test part after each epoch: accuracy, or mean squared error
    test_losses the loss on the test part after each epoch
    """

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    test_losses: list[float] = field(default_factory=list)
    divergence: Divergence | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON: all numbers are finite, as a run stops at the first that is not."""
        found = asdict(self)
        if self.divergence is not None:
            found["divergence"]["account"] = str(self.divergence)
        return found

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Curve:
        """Return the curve that `as_dict` was called on; raises SchemaError."""
        divergence = given["divergence"]
        own = divergence and {name: divergence[name] for name in divergence if name != "account"}
        return build(cls, {**given, "divergence": own}, "curve")

    def epoch_reaching(self, target: float, kind: str) -> int | None:
        """Return the first epoch, from 0, whose score is at least ``target``, or error at most."""
        good = (s >= target if kind == CLASSIFICATION else s <= target for s in self.scores)
        return next((epoch for epoch, reached in enumerate(good) if reached), None)

    def seconds_to(self, target: float, kind: str) -> float | None:
        """Return the seconds of training until `epoch_reaching`."""
        epoch = self.epoch_reaching(target, kind)
        return None if epoch is None else self.seconds[epoch]


class Run:
    """A training under way; `epoch` takes it one epoch on.

    Raises UnsupportedError where the backend cannot train this network.
    """

    def __init__(
        self,
        settings: Settings,
        backend: str,
        task: Task,
        dtype: str = "float32",
        disturb: Disturb | None = None,
    ) -> None:
        spec = settings.spec(task.input_size, dtype)
        interface.require(backend, spec, interface.Conditions(packed=True))
        self.settings, self.backend, self.task, self.dtype = settings, backend, task, dtype
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            rnn = of_spec(settings.spec(task.input_size), backend)
            if settings.chrono:
                chrono(rnn, settings.chrono)
            self.model = Classifier(
                rnn, task.classes, settings.dropout, READINGS[settings.reading]
            ).to(getattr(torch, dtype))
            self.random = torch.random.get_rng_state()
        self.order = torch.Generator().manual_seed(settings.seed)
        self.parameters = list(self.model.parameters())
        self.optimiser = getattr(torch.optim, OPTIMISERS[settings.optimiser])(
            self.parameters, lr=settings.lr
        )
        self.disturb = disturb
        self.curve = Curve()

    @property
    def epochs(self) -> int:
        """Number of epochs that are done."""
        return len(self.curve.scores)

    @property
    def finished(self) -> bool:
        return self.epochs >= self.settings.epochs or self.curve.divergence is not None

    def warm_up(self) -> float:
        """Return the seconds of one step that changes nothing, but compiles what is compiled."""
        started = perf_counter()
        with self._own_random():
            state = torch.random.get_rng_state()
            self._loss(self.task.train.take(range(self._batch))).backward()  # type: ignore[no-untyped-call]
            torch.random.set_rng_state(state)
        self.optimiser.zero_grad()
        return perf_counter() - started

    def epoch(self) -> None:
        """Learn from the whole training part once, then look at the test part."""
        if self.finished:
            return
        self.learn()
        if self.curve.divergence is None:
            loss, score = self.look()
            self.curve.test_losses.append(loss)
            self.curve.scores.append(score)

    def learn(self) -> None:
        """Learn from the whole training part once; only this counts in the curve's seconds."""
        self.model.train()
        started = perf_counter()
        with self._own_random():
            for batch in self._batches():
                self._step(batch)
                if self.curve.divergence is not None:
                    return
        before = self.curve.seconds[-1] if self.curve.seconds else 0.0
        self.curve.seconds.append(before + perf_counter() - started)

    def look(self, part: Part | None = None) -> tuple[float, float]:
        """Return loss and score on a part, by default the test part, without dropout."""
        part = part or self.task.test
        self.model.eval()
        with torch.no_grad():
            outputs = self.model(part.sequences)
            loss = float(self._criterion(outputs, part.targets))
        if self.task.kind == CLASSIFICATION:
            return loss, float((outputs.argmax(1) == part.targets).double().mean())
        return loss, loss

    def alone(self) -> float:
        """Return the share of test sequences with the same answer in one batch and each alone.

        Alone nothing is padded: a right reading has a share of 1.
        """
        self.model.eval()
        with torch.no_grad():
            together = self.model(self.task.test.sequences).argmax(1)
            apart = [self.model([one]).argmax(1) for one in self.task.test.sequences]
        return float((together == torch.cat(apart)).double().mean())

    @property
    def _batch(self) -> int:
        return min(self.settings.batch, len(self.task.train.sequences))

    def _batches(self) -> Iterator[Part]:
        rows = torch.randperm(len(self.task.train.sequences), generator=self.order)
        for chosen in torch.split(rows, self.settings.batch):
            yield self.task.train.take(chosen.tolist())

    def _criterion(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.task.kind == CLASSIFICATION:
            return functional.cross_entropy(outputs, targets)
        return functional.mse_loss(outputs[:, 0], targets.to(outputs.dtype))

    def _loss(self, batch: Part) -> Tensor:
        return self._criterion(self.model(batch.sequences), batch.targets)

    def _step(self, batch: Part) -> None:
        if self.disturb is not None:
            self.disturb(self.parameters)
        loss = self._loss(batch)
        value = loss.item()
        if not math.isfinite(value):
            self.curve.divergence = self._divergence("loss", value)
            return
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        most = self.settings.clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, most).item()
        if not math.isfinite(norm):
            bad = [
                name
                for name, parameter in self.model.named_parameters()
                if parameter.grad is None or not bool(parameter.grad.isfinite().all())
            ]
            what = f"gradient of {bad[0]}" if bad else "norm of the gradient"
            self.curve.divergence = self._divergence(what, norm)
            return
        self.optimiser.step()
        self.curve.losses.append(value)
        self.curve.norms.append(norm)

    def _divergence(self, what: str, value: float) -> Divergence:
        sizes = {n: float(p.detach().abs().max()) for n, p in self.model.named_parameters()}
        where = max(sizes, key=lambda name: sizes[name] if sizes[name] == sizes[name] else math.inf)
        return Divergence(
            self.epochs, len(self.curve.losses), what, str(value), tuple(self.curve.norms[-5:]),
            str(sizes[where]), where, self.settings.lr, self.settings.clip,
        )  # fmt: skip

    @contextmanager
    def _own_random(self) -> Iterator[None]:
        """Set torch's global generator to where this run left it, and restore it afterwards."""
        with torch.random.fork_rng(devices=[]):
            torch.random.set_rng_state(self.random)
            yield
            self.random = torch.random.get_rng_state()
