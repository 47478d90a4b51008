"""Made-up comparisons and rooflines, as the commands that keep them write them."""

from __future__ import annotations

import itertools
import json
import math
import random
from pathlib import Path
from typing import Any

COMPARED = {"native": 1.0, "numba": 1.6, "onnxruntime": 1.7, "jax": 0.9}
"""Backends of a comparison → how many times as fast as native."""
HOST = {"host": "bench", "cpu": "Zen 4", "cpu_id": "cpu family 25"}


def compared(
    cell: str = "gru",
    phase: str = "inference",
    B: int = 16,
    H: int = 128,
    threads: int = 1,
    speeds: dict[str, float] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A line as ``rnnbench compare --save`` writes it; intervals of 2 % to both sides.

    A speed of NaN is a backend that does not support the case.
    """
    speeds = COMPARED if speeds is None else speeds
    training = phase == "training"
    if training:
        speeds = {name: math.nan if name == "onnxruntime" else v for name, v in speeds.items()}
    size = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}[cell]
    flops = 2 * size * H * 2 * H * B * 128 * (3 if training else 1)
    references = [n for n in speeds if n != "numba" and not math.isnan(speeds[n])]
    peer = max(references, key=lambda name: speeds[name], default=None)

    def ratio(name: str, to: str | None) -> list[float] | None:
        value = speeds[name] / speeds.get(to or "", math.nan)
        return None if math.isnan(value) else [value, value * 0.98, value * 1.02]

    lines = []
    for name, speed in speeds.items():
        timed = not math.isnan(speed)
        seconds = flops / 30e9 / speed if timed else None
        lines.append(
            {
                "backend": name,
                "status": "ok" if timed else "unsupported",
                "detail": "" if timed else f"{name} computes no gradients",
                "median": seconds,
                "gflops": flops / seconds / 1e9 if seconds else None,
                "cores": 1.0 if timed else None,
                "identity": {"kernel": name},
                "rounds": 40 if timed else 0,
                "ratio_to_native": ratio(name, "native"),
                "ratio_to_fastest_reference": ratio(name, peer),
            }
        )
    described = {"input_size": H, "hidden_size": H, "layers": 1, "directions": 1, "bias": True}
    described |= {"cell": cell, "dtype": "float32", "proj_size": 0, "dropout": 0.0}
    case = {"spec": described | spec, "T": 128, "B": B, "phase": phase, "lengths": None}
    return {
        "schema": 1,
        "at": "2026-01-02T03:04:05+00:00",
        "machine": dict(HOST),
        "versions": {"python": "3.11.7", "torch": "2"},
        "threads": threads,
        "name": f"{cell}-{phase}-{B}-{H}",
        "case": case | {"initial_state": True, "seed": 0},
        "flops": flops,
        "fastest_reference": peer,
        "lines": lines,
    }


def roofline(threads: tuple[int, ...] = (1,)) -> dict[str, Any]:
    """A file as ``rnnbench roofline --save`` writes it."""
    sizes = {"L1": 32 << 10, "L2": 1 << 20, "L3": 32 << 20, "memory": None}
    speeds = {"L1": 206.0, "L2": 110.0, "L3": 80.0, "memory": 25.0}
    roofs = [
        {
            "threads": count,
            "peak_gflops": {
                "float32": {"best": 115.0 * count, "median": 113.0 * count},
                "float64": {"best": 57.0 * count, "median": 56.0 * count},
            },
            "read_gbytes": [
                {
                    "name": name,
                    "read": 16 << 10,
                    "capacity": size,
                    "best": speeds[name] * count,
                    "median": 0.97 * speeds[name] * count,
                }
                for name, size in sizes.items()
            ],
        }
        for count in threads
    ]
    about = {"machine": dict(HOST), "versions": {"python": "3.11.7"}, "vectors": "AVX-512"}
    return {"schema": 1, "at": "2026-01-02T03:00:00+00:00", **about, "roofs": roofs}


def grid() -> list[dict[str, Any]]:
    """Lines for three cells, both phases and five shapes: some won, some lost, on one thread."""
    noise = random.Random(0)
    shapes = [(1, 64), (1, 256), (16, 128), (32, 256), (64, 512)]
    lines = []
    for (B, H), cell, phase in itertools.product(
        shapes, ["rnn_tanh", "gru", "lstm"], ["inference", "training"]
    ):
        best = {"rnn_tanh": 3.0, "gru": 1.6, "lstm": 0.97}[cell] * noise.lognormvariate(0, 0.3)
        lines.append(compared(cell, phase, B, H, speeds=COMPARED | {"numba": best}))
    return lines


def write_comparison(results: Path, lines: list[dict[str, Any]], host: str = "bench") -> None:
    """Put lines where ``rnnbench compare --save`` puts them."""
    target = results / "comparison" / f"{host}.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def write_roofline(results: Path, given: dict[str, Any], host: str = "bench") -> None:
    """Put a roofline where ``rnnbench roofline --save`` puts it."""
    target = results / "roofline" / f"{host}.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(given) + "\n", encoding="utf-8")
