"""Take result files over whole from where asv wrote them, or set them aside with their name.

asv writes its files in place, so that a kill leaves half a file. A night lets it write into a
folder of its own, seeded with what is known of the commit, and puts the outcome here by renaming.
What is broken or foreign goes to ``aside/`` below the results directory and is never deleted.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rnnbench.files import atomic, jsonl
from rnnbench.judge.engine import API_VERSION, SUITE, ForeignError, case_names, read_suite
from rnnbench.judge.nightly.night import Trouble

ASIDE = "aside"
RESULT = re.compile(r"[0-9a-f]{8}-.+\.json")
"""asv's name of a result file, below the machine's folder; other files there are not its."""
MACHINE = "machine.json"


def load(file: Path) -> dict[str, Any]:
    """Return one of asv's result files.

    Raises ForeignError where it is not of the machine and the commit that its name says.
    """
    try:
        given = json.loads(file.read_bytes())
        version = given["version"]
        machine, commit = given["params"]["machine"], given["commit_hash"]
        columns, results = given["result_columns"], given["results"]
        whole = isinstance(columns, list) and isinstance(results, dict)
        whole = whole and all(isinstance(row, list) for row in results.values())
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ForeignError(f"no result file of asv: {type(error).__name__}: {error}") from error
    if version != API_VERSION:
        raise ForeignError(f"of version {version!r}; this asv writes {API_VERSION}")
    if machine != file.parent.name:
        raise ForeignError(f"measured on the machine {machine!r}")
    if not isinstance(commit, str) or not commit.startswith(file.name.split("-")[0]):
        raise ForeignError(f"of the commit {commit!r}")
    if not whole:
        raise ForeignError("no result file of asv: its results are no lists under names")
    return dict(given)


def set_broken_aside(results: Path) -> list[Trouble]:
    """Move what asv could not read out of its way, and say so."""
    checks: list[tuple[Path, Callable[[Path], object]]] = [
        *((file, _load_machine) for file in sorted(results.glob(f"*/{MACHINE}"))),
        *((file, load) for file in result_files(results)),
        *((file, read_suite) for file in results.glob(SUITE)),
    ]
    found = []
    for file, check in checks:
        try:
            check(file)
        except ForeignError as error:
            found.append(set_aside(results, file, str(error)))
    return found


def set_aside(results: Path, file: Path, why: str) -> Trouble:
    """Move one file to ``aside/``, its name kept; a second of the name gets a number after it."""
    name = file.relative_to(results)
    target = results / ASIDE / name
    for number in itertools.count(2):
        if not target.exists():
            break
        target = (results / ASIDE / name).with_name(f"{name.name}.{number}")
    target.parent.mkdir(parents=True, exist_ok=True)
    file.rename(target)
    moved = target.relative_to(results)
    return Trouble("result file", str(name), f"It is {why}. It was set aside as {moved}.")


def aside(results: Path, kind: str, host: str) -> Iterator[Path]:
    """Yield the records of a kind and machine that were set aside."""
    yield from sorted((results / ASIDE / kind / host).glob("*.json*"))


def _load_machine(file: Path) -> None:
    try:
        given = json.loads(file.read_bytes())
        name = given["machine"]
    except (ValueError, KeyError, TypeError) as error:
        raise ForeignError(f"no description of a machine: {type(error).__name__}") from error
    if name != file.parent.name:
        raise ForeignError(f"the description of the machine {name!r}")


def outcomes(given: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return benchmark at its version → case → ok, failed, or none (skipped or never run)."""
    columns = given["result_columns"]
    found = {}
    for name, row in given["results"].items():
        entry = dict(zip(columns, row, strict=False))
        cases = case_names({"name": name, "params": entry.get("params")})
        values = entry.get("result") or [None] * len(cases)
        kinds = (_kind(value) for value in values)
        found[f"{name}@{entry.get('version')}"] = dict(zip(cases, kinds, strict=False))
    return found


def _kind(value: object) -> str:
    if value is None:
        return "failed"
    return "none" if isinstance(value, float) and math.isnan(value) else "ok"


def numbers(
    results: Path, host: str, commits: list[str], *, existing: bool
) -> dict[str, dict[str, set[str]]]:
    """Return commit → benchmark at its version → cases that have a number.

    In every environment of the kind that is asked for: an existing one, or those of asv.
    """
    found: dict[str, dict[str, set[str]]] = {}
    for commit in commits:
        for file in results.glob(f"{host}/{commit[:8]}-*.json"):
            if file.name.startswith(f"{commit[:8]}-existing") != existing:
                continue
            measured = {
                key: {case for case, kind in cases.items() if kind == "ok"}
                for key, cases in outcomes(load(file)).items()
            }
            known = found.get(commit)
            found[commit] = (
                measured
                if known is None
                else {key: measured.get(key, set()) & cases for key, cases in known.items()}
            )
    return found


def seed(results: Path, scratch: Path, host: str, commit: str) -> None:
    """Copy the known results of a commit to where asv adds to them."""
    for file in results.glob(f"{host}/{commit[:8]}-*.json"):
        (scratch / host).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, scratch / host / file.name)


def adopt(scratch: Path, results: Path) -> dict[str, dict[str, str]]:
    """Take over what asv wrote, records first; returns the `outcomes` of all of it.

    A half file, or one that lacks a number that is known already, is left behind.
    """
    for file in sorted(scratch.glob("records/*/*.jsonl")):
        jsonl.merge(file, results / file.relative_to(scratch))
    found: dict[str, dict[str, str]] = {}
    for file in _written(scratch):
        target = results / file.relative_to(scratch)
        new = outcomes(load(file))
        if target.exists() and not _covers(new, outcomes(load(target))):
            continue
        machine = file.with_name(MACHINE)
        if machine.exists() and not target.with_name(MACHINE).exists():
            atomic.write(target.with_name(MACHINE), machine.read_bytes())
        atomic.write_if_changed(target, file.read_bytes())
        for key, cases in new.items():
            found.setdefault(key, {}).update(cases)
    return found


def _written(scratch: Path) -> Iterator[Path]:
    """Yield the whole result files."""
    for file in result_files(scratch):
        try:
            load(file)
        except ForeignError:
            continue
        yield file


def result_files(folder: Path) -> Iterator[Path]:
    """Yield asv's result files of all machines, whole or not."""
    for file in sorted(folder.glob("*/*.json")):
        if RESULT.fullmatch(file.name):
            yield file


def _covers(new: Mapping[str, Mapping[str, str]], old: Mapping[str, Mapping[str, str]]) -> bool:
    """Return True if no number of a benchmark in both, at the same version, would be lost."""
    return all(
        new[key].get(case) == "ok"
        for key, cases in old.items()
        if key in new
        for case, kind in cases.items()
        if kind == "ok"
    )
