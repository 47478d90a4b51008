"""A measured roofline, and the file that keeps it: one JSON object for each host.

The file is written whole or not at all. Its name ends in .jsonl, though it is one line: asv would
take a .json beside its results for a result of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_data_path

from rnnbench.files import atomic, machine
from rnnbench.files.schema import Record
from rnnbench.roofline.caches import Level

FOLDER = "roofline"
COMMAND = "rnnbench roofline"
STEADY = 0.9
"""Least ratio of median to best on a machine that does nothing else."""


class NoRooflineError(LookupError):
    """No roofline of this machine is stored; the message says which command makes one."""


@dataclass(frozen=True)
class Rate:
    """Best and median of all rounds, in 10⁹ operations, or bytes, per second."""

    best: float
    median: float

    @property
    def steady(self) -> bool:
        return self.median >= STEADY * self.best


@dataclass(frozen=True)
class Bandwidth(Rate, Level):
    """Rate at which all threads together read from one level of memory."""


@dataclass(frozen=True)
class Roof:
    """Limits of a number of threads: multiply-adds of each dtype, and reads, the nearest first."""

    threads: int
    peak_gflops: Mapping[str, Rate]
    read_gbytes: tuple[Bandwidth, ...]

    @property
    def steady(self) -> bool:
        """False where something else seems to have run, so that the best may be too low as well."""
        return all(rate.steady for rate in (*self.peak_gflops.values(), *self.read_gbytes))


@dataclass(frozen=True)
class Roofline(Record):
    """The roofs of a machine.

    machine     `rnnbench.files.machine.identity`
    vectors     name of the vector instructions used
    at          time of the measurement in UTC, ISO 8601
    """

    machine: Mapping[str, str]
    versions: Mapping[str, str]
    vectors: str
    at: str
    roofs: tuple[Roof, ...]

    def of(self, threads: int) -> Roof | None:
        """Return the roof for that number of threads, if it was measured."""
        return next((roof for roof in self.roofs if roof.threads == threads), None)


def default_folder() -> Path:
    """Return the folder of the user's data of this package."""
    return user_data_path("rnnbench")


def path(folder: Path, host: str) -> Path:
    """Return the file of a host's roofline below ``folder``."""
    return folder / FOLDER / f"{host}.jsonl"


def save(roofline: Roofline, folder: Path) -> Path:
    """Write it below ``folder``, in the place of an older one of its host; returns the file."""
    text = json.dumps(roofline.as_dict(), allow_nan=False)
    return atomic.write(path(folder, roofline.machine["host"]), f"{text}\n")


def read(file: Path) -> Roofline:
    """Return a kept roofline; raises NoRooflineError where the file is missing or broken."""
    try:
        return Roofline.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise NoRooflineError(
            f"no roofline of this machine is stored: `{COMMAND}` measures it"
        ) from None
    except (OSError, ValueError) as error:
        raise NoRooflineError(
            f"{file} cannot be read ({type(error).__name__}: {error}): `{COMMAND}` makes it anew"
        ) from None


def stored() -> Roofline:
    """Return this machine's roofline.

    Raises NoRooflineError where there is none, or another processor's.
    """
    here = machine.identity()
    found = read(path(default_folder(), here["host"]))
    if found.machine != here:
        raise NoRooflineError(
            f"the stored roofline is of another processor ({found.machine.get('cpu')}): "
            f"`{COMMAND}` measures this one"
        )
    return found
