"""A measured roofline, and the file that keeps it: one JSON object, written whole or not at all.

One file for each host. It ends in .jsonl, though it is one line: kept beside asv's results, asv
would take a .json for a result of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from platformdirs import user_data_path

from rnnbench.files import machine
from rnnbench.roofline.caches import Level

SCHEMA = 1
FOLDER = "roofline"
COMMAND = "rnnbench roofline"
STEADY = 0.9
"""Share of the best that the median has on a machine that does nothing else."""


class NoRooflineError(LookupError):
    """No roofline of this machine is stored; the message says which command makes one."""


class Rate(NamedTuple):
    """The best and the median of all rounds: 10⁹ operations, or bytes, a second."""

    best: float
    median: float

    @property
    def steady(self) -> bool:
        return self.median >= STEADY * self.best


@dataclass(frozen=True)
class Bandwidth:
    """How fast a level is read, by all threads together."""

    level: Level
    rate: Rate


@dataclass(frozen=True)
class Roof:
    """What so many threads can do: multiply-adds of each dtype, and reads, the nearest first."""

    threads: int
    peak: Mapping[str, Rate]
    bandwidths: tuple[Bandwidth, ...]

    @property
    def steady(self) -> bool:
        """Whether nothing else seems to have run; if not, the best may be too low as well."""
        return all(
            rate.steady for rate in (*self.peak.values(), *(b.rate for b in self.bandwidths))
        )


@dataclass(frozen=True)
class Roofline:
    """A machine's roofs.

    machine     `rnnbench.files.machine.identity`
    vectors     name of the vector instructions used
    at          when, in UTC, ISO 8601
    """

    machine: Mapping[str, str]
    versions: Mapping[str, str]
    vectors: str
    at: str
    roofs: tuple[Roof, ...]

    def of(self, threads: int) -> Roof | None:
        """The roof for that number of threads, if it was measured."""
        return next((roof for roof in self.roofs if roof.threads == threads), None)

    def as_dict(self) -> dict[str, Any]:
        roofs = [
            {
                "threads": roof.threads,
                "peak_gflops": {dtype: rate._asdict() for dtype, rate in roof.peak.items()},
                "read_gbytes": [asdict(b.level) | b.rate._asdict() for b in roof.bandwidths],
            }
            for roof in self.roofs
        ]
        return {"schema": SCHEMA} | asdict(self) | {"roofs": roofs}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Roofline:
        """Raises KeyError, TypeError or ValueError for what `as_dict` did not make."""
        if given["schema"] != SCHEMA:
            raise ValueError(f"schema must be {SCHEMA}; got {given['schema']!r}")
        roofs = tuple(
            Roof(
                roof["threads"],
                {dtype: Rate(**rate) for dtype, rate in roof["peak_gflops"].items()},
                tuple(
                    Bandwidth(
                        Level(read["name"], read["read"], read["capacity"]),
                        Rate(read["best"], read["median"]),
                    )
                    for read in roof["read_gbytes"]
                ),
            )
            for roof in given["roofs"]
        )
        return cls(given["machine"], given["versions"], given["vectors"], given["at"], roofs)


def default_folder() -> Path:
    """The user's own data of this package."""
    return user_data_path("rnnbench")


def path(folder: Path, host: str) -> Path:
    """Where a host's roofline lies below ``folder``."""
    return folder / FOLDER / f"{host}.jsonl"


def save(roofline: Roofline, folder: Path) -> Path:
    """Write it below ``folder``, in the place of an older one of this host."""
    target = path(folder, roofline.machine["host"])
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(roofline.as_dict(), allow_nan=False) + "\n", encoding="utf-8")
    part.replace(target)
    return target


def read(file: Path) -> Roofline:
    """Raises NoRooflineError, with a sentence, where the file is missing or broken."""
    try:
        return Roofline.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise NoRooflineError(
            f"no roofline of this machine is stored: `{COMMAND}` measures it"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoRooflineError(
            f"{file} cannot be read ({type(error).__name__}: {error}): `{COMMAND}` makes it anew"
        ) from None


def stored() -> Roofline:
    """This machine's; NoRooflineError where there is none, or another processor's."""
    here = machine.identity()
    found = read(path(default_folder(), here["host"]))
    if found.machine != here:
        raise NoRooflineError(
            f"the stored roofline is of another processor ({found.machine.get('cpu')}): "
            f"`{COMMAND}` measures this one"
        )
    return found
