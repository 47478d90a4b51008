"""What ``asv publish`` writes for its own interface, from the store: the explorer reads it.

asv wipes the site, reads every result file three times and fits steps to every series anew: for
1,000 commits of 1,000 cases about a minute of processor time a night (0.058 s a series, 0.002 s a
file). Here only what is new is parsed, and the graphs are written in asv's format and under the
names that asv gives them. A file whose content did not change is left alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from asv.graph import Graph

from rnnbench.judge.site.data import store
from rnnbench.judge.site.data.histories import Since, grid, is_current
from rnnbench.judge.site.html.page import write
from rnnbench.judge.site.data.store import Store

Revisions = Mapping[str, int]
Params = dict[str, Any]


def write_data(
    html_dir: Path,
    conf: Any,
    repo: Any,
    known: Store,
    benchmarks: Mapping[str, Any],
    machines: Mapping[str, Any],
    revisions: Revisions,
    changes: Mapping[str, list[Since]],
) -> list[str]:
    """Write graphs, ``index.json``, ``info.json`` and ``regressions.json``; the graphs' paths."""
    every = _params(known)
    branches = {branch: set(repo.get_branch_commits(branch)) for branch in conf.branches}
    members = _members(known, revisions, {repo.get_branch_name(b): c for b, c in branches.items()})
    paths, used = [], []
    for name, params, text in _graphs(known, benchmarks, revisions, every, members):
        path = Graph.get_file_path(params, name)
        write(html_dir / f"{path}.json", text)
        paths.append(path)
        if params not in used:
            used.append(params)
    tags = {
        tag: revisions[commit] for tag, commit in repo.get_tags().items() if commit in revisions
    }
    dates = {visit.commit: visit.date for visit in known.visits if visit.date is not None}
    index = {
        "project": conf.project,
        "project_url": conf.project_url,
        "show_commit_url": conf.show_commit_url,
        "hash_length": conf.hash_length,
        "revision_to_hash": {number: commit for commit, number in revisions.items()},
        "revision_to_date": {
            number: dates.get(commit) or repo.get_date_from_name(commit)
            for commit, number in revisions.items()
        },
        "params": {key: sorted(values, key=_rank) for key, values in every.items()}
        | {"branch": [repo.get_branch_name(branch) for branch in conf.branches]},
        "graph_param_list": used,
        "benchmarks": benchmarks,
        "machines": machines,
        "tags": tags,
        "pages": [],
    }
    write(html_dir / "index.json", _json(index))
    moment = int(datetime.now(UTC).timestamp() * 1000)
    write(html_dir / "info.json", _json({"asv-version": version("asv"), "timestamp": moment}))
    found = _regressions(known, benchmarks, revisions, every, members, changes)
    write(html_dir / "regressions.json", _json({"regressions": found}))
    return paths


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _rank(value: Any) -> str:
    return "[none]" if value is None else str(value)


def _params(known: Store) -> dict[str, set[Any]]:
    """Every parameter of the environments, and its values; None where a visit has none."""
    named = [visit.asv for visit in known.visits if visit.asv]
    keys = dict.fromkeys(key for params in named for key in params)
    return {key: {_plain(params, key) for params in named} for key in keys}


def _plain(params: Mapping[str, Any], key: str) -> Any:
    """asv reads a null as an empty text, and what is not there as None."""
    return ("" if params[key] is None else params[key]) if key in params else None


def _members(
    known: Store, revisions: Revisions, branches: Mapping[str, set[str]]
) -> list[tuple[int, str]]:
    """Visit and branch, for each branch that holds the commit."""
    return [
        (number, branch)
        for number, visit in enumerate(known.visits)
        for branch, commits in branches.items()
        if visit.asv and visit.commit in revisions and visit.commit in commits
    ]


def _graph_params(known: Store, visit: int, branch: str, every: Mapping[str, Any]) -> Params:
    params = {key: _plain(known.visits[visit].asv, key) for key in every}
    return params | {"branch": branch}


def _graphs(
    known: Store,
    benchmarks: Mapping[str, Any],
    revisions: Revisions,
    every: Mapping[str, Any],
    members: list[tuple[int, str]],
) -> Iterator[tuple[str, Params, str]]:
    """Benchmark, the parameters of its environment, and the graph as asv writes it."""
    visits, cases = known.visits, known.cases
    figures = known.frame
    figures = figures[store.measured(figures["status"])]
    numbers = {case: number for number, case in enumerate(cases)}
    lines: dict[str, tuple[Params, list[int]]] = {}
    for visit, branch in members:
        params = _graph_params(known, visit, branch, every)
        lines.setdefault(Graph.get_file_path(params, ""), (params, []))[1].append(visit)
    for name, entry in benchmarks.items():
        columns = {params: place for place, params in enumerate(grid(entry))}
        places = np.full(len(cases), -1)
        for case, number in numbers.items():
            if case.benchmark == name and is_current(case, benchmarks):
                places[number] = columns.get(case.params, -1)
        mine = figures[places[figures["case"]] >= 0]
        table = np.full((len(visits), len(columns)), np.nan)
        table[mine["visit"], places[mine["case"]]] = mine["value"]
        for params, own in lines.values():
            text = _graph(table[own], [revisions[visits[visit].commit] for visit in own], entry)
            if text is not None:
                yield name, params, text


def _graph(table: Any, revision: list[int], entry: Mapping[str, Any]) -> str | None:
    """Revision and figures, without the edges where there are none; None without any."""
    whole = pd.DataFrame(table).groupby(np.array(revision)).mean()  # of a commit's environments
    known = np.flatnonzero(whole.notna().any(axis=1))
    if not len(known):
        return None
    kept = whole.iloc[known[0] : known[-1] + 1]
    rows = kept.to_numpy().tolist()
    values = rows if entry["params"] else [row[0] for row in rows]
    points = list(zip(kept.index.tolist(), values, strict=True))
    # The only words in this text are those for missing numbers.
    return _json(points).replace("NaN", "null")


def _regressions(
    known: Store,
    benchmarks: Mapping[str, Any],
    revisions: Revisions,
    every: Mapping[str, Any],
    members: list[tuple[int, str]],
    changes: Mapping[str, list[Since]],
) -> list[list[Any]]:
    """asv's list, of the changes for the worse that our detector finds."""
    of_visit = {id(known.visits[visit]): (visit, branch) for visit, branch in members}
    several = {key for key, values in every.items() if len(values) > 1}
    found = []
    for machine in changes.values():
        for one in machine:
            name, values = one.key
            where = of_visit.get(id(one.suspects[-1]))
            if one.change.ratio <= 1 or where is None or name not in benchmarks:
                continue
            params = _graph_params(known, *where, every)
            place = grid(benchmarks[name]).index(values) if benchmarks[name]["params"] else None
            first, last = one.last_before.commit, one.suspects[-1].commit
            ends = [None if len(one.suspects) == 1 else revisions[first], revisions[last]]
            before, after = one.change.before, one.change.after
            if not (math.isfinite(before) and math.isfinite(after)):
                continue
            words = f"{name}({', '.join(values)})" if values else name
            unique = {key: value for key, value in params.items() if key in several}
            path = f"{Graph.get_file_path(params, name)}.json"
            found.append([words, path, unique, place, after, before, [[*ends, before, after]]])
    return found
