"""The numba backend: our own vector kernels on the CPU, forward and by BPTT backward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rnnbench.backends.numba import inference, passes, threads
from rnnbench.backends.numba.recurrence import NumbaRecurrence
from rnnbench.backends.numba.vector import Lanes, processor
from rnnbench.backends.numba_base import Jitted
from rnnbench.interface import Inputs, Repeated
from rnnbench.spec import Spec


class Numba(Jitted):
    """Vector kernels on the CPU, on as many of torch's threads as the work is worth."""

    recurrence = NumbaRecurrence()

    def repeated(self, spec: Spec, inputs: Inputs) -> Repeated | None:
        long_way = super().repeated(spec, inputs)
        return None if long_way is None else inference.repeated(spec, inputs, long_way)

    def kernels(self, spec: Spec, *, training: bool) -> Sequence[Any]:
        backward = [passes.backward_steps, passes.backward_products]
        return [passes.forward, *(backward if training else [])]

    def facts(self, dtype: str) -> Mapping[str, Any]:
        return {
            "kernel": "numba vectors",
            "vectors": f"{processor().name}, {Lanes.of(dtype).width} numbers",
            "threads": threads.available(),
        }
