"""The contract as a table: backend × feature, each cell "yes" or the backend's reason why not.

Printed by ``python -m rnnbench.parity.contract``; the README holds a copy that a test keeps equal.
"""

from __future__ import annotations

from dataclasses import replace

from rnnbench import interface
from rnnbench.interface import Conditions
from rnnbench.spec import CELLS, Spec

_CPU = Conditions()
_LSTM = ("lstm",)

FEATURES: dict[str, tuple[tuple[str, ...], dict[str, object], Conditions]] = {
    "training: gradients of x, h0, c0, all weights": (CELLS, {}, _CPU),
    "inference: nothing kept": (CELLS, {}, Conditions(phase="inference")),
    "layers and both directions": (CELLS, {"layers": 3, "directions": 2}, _CPU),
    "without bias": (CELLS, {"bias": False}, _CPU),
    "float64": (CELLS, {"dtype": "float64"}, _CPU),
    "bfloat16": (CELLS, {"dtype": "bfloat16"}, _CPU),
    "float16": (CELLS, {"dtype": "float16"}, _CPU),
    "projection (`proj_size`)": (_LSTM, {"proj_size": 2}, _CPU),
    "packed sequences": (CELLS, {}, Conditions(packed=True)),
    "dropout between layers": (CELLS, {"layers": 2, "dropout": 0.5}, _CPU),
    "dropout with given masks": (
        CELLS,
        {"layers": 2, "dropout": 0.5},
        Conditions(masks_given=True),
    ),
    "CUDA (not run in CI, which has no GPU)": (CELLS, {}, Conditions(device="cuda")),
}
"""Feature → the cells that have it, what it changes in the spec, and its conditions."""


def support(backend: str, feature: str) -> str:
    """ "yes", or the reasons of the backend, each once."""
    cells, changes, conditions = FEATURES[feature]
    base = Spec("gru", 3, 4)
    reasons = [
        interface.get_backend(backend).supports(
            replace(base, cell=cell, **changes),  # type: ignore[arg-type]
            conditions,
        )
        for cell in cells
    ]
    return "; ".join(dict.fromkeys(reason for reason in reasons if reason)) or "yes"


def table() -> str:
    """The table in Markdown; of the backends that are always there, so not of the peers."""
    names = [name for name in interface.backends() if name not in interface.PEERS]
    lines = [
        "| feature | " + " | ".join(f"`{name}`" for name in names) + " |",
        "|---" * (1 + len(names)) + "|",
    ]
    lines += [
        f"| {feature} | " + " | ".join(support(name, feature) for name in names) + " |"
        for feature in FEATURES
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())  # noqa: T201
