"""The levels of memory as the system reports them, and the bytes to read to measure each.

With ``share`` the part of a cache that one of the running threads has, a thread reads

    first level         half of it
    others              √(share · the level before's share), which is too much for the level before
                        and far from this one's end, where neighbours push each other out
    memory              twice the last level's share
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rnnbench.errors import BrokenError

SYSTEM = Path("/sys/devices/system/cpu")
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
MEMORY = "memory"
TIMES_LAST = 2


class CachesError(BrokenError):
    """The system does not report the caches of the processor."""


@dataclass(frozen=True)
class Cache:
    """One level: its size in bytes, and the processors that share it."""

    level: int
    bytes: int
    cpus: frozenset[int]


@dataclass(frozen=True)
class Level:
    """A level of memory, and the sizes in bytes to measure it with.

    read        bytes that one thread reads to measure it
    capacity    bytes that all threads together can keep in it; None of memory, which holds all
    """

    name: str
    read: int
    capacity: int | None


def caches(cpu: int, system: Path = SYSTEM) -> list[Cache]:
    """Return the caches between ``cpu`` and memory, the nearest first; raises CachesError."""
    found = []
    try:
        for index in sorted((system / f"cpu{cpu}" / "cache").glob("index*")):
            kind, level, size, shared = (
                (index / name).read_text(encoding="ascii").strip()
                for name in ("type", "level", "size", "shared_cpu_list")
            )
            if kind in {"Data", "Unified"}:
                found.append(Cache(int(level), _bytes(size), _numbers(shared)))
    except (OSError, ValueError) as error:
        raise CachesError(
            f"the sizes of the caches cannot be read from {system}: {error}"
        ) from None
    if not found:
        raise CachesError(f"the system does not tell the sizes of the caches in {system}")
    return sorted(found, key=lambda cache: cache.level)


def levels(found: Sequence[Cache], used: Sequence[int]) -> list[Level]:
    """Return the levels for one thread on each of the processors ``used``, which are alike."""
    shares = [cache.bytes // len(cache.cpus & set(used)) for cache in found]
    result = []
    for n, (cache, share) in enumerate(zip(found, shares, strict=True)):
        read = math.isqrt(shares[n - 1] * share) if n else share // 2
        result.append(Level(f"L{cache.level}", read, share * len(used)))
    return [*result, Level(MEMORY, TIMES_LAST * shares[-1], None)]


def _bytes(size: str) -> int:
    """Return the bytes of a size like ``48K``."""
    unit = UNITS.get(size[-1:])
    return int(size[:-1]) * unit if unit else int(size)


def _numbers(ranges: str) -> frozenset[int]:
    """Return the numbers in ranges like ``0-1,4``."""
    found: set[int] = set()
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return frozenset(found)
