"""The files that asv publishes for its own interface, made from the store: the explorer reads them.

``asv publish`` reads every result file three times and fits steps to every series anew: for 1,000
commits of 1,000 cases about a minute of processor time (0.058 s a series, 0.002 s a file). Here the
graphs come from the store, in asv's format and under the names that asv gives them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from asv.graph import Graph
from asv.repo import get_repo

from rnnbench.files import foreign
from rnnbench.judge.site.data.histories import Since, grid
from rnnbench.judge.site.data.results import is_current
from rnnbench.judge.site.data.site import Site

Params = dict[str, Any]


class Graphs:
    """The figures of a site in asv's terms."""

    def __init__(self, site: Site, conf: Any) -> None:
        self.site, self.conf, self.repo = site, conf, get_repo(conf)
        visits = site.known.visits
        named = [visit.asv for visit in visits if visit.asv]
        keys = dict.fromkeys(key for params in named for key in params)
        self.params = {key: {_plain(params, key) for params in named} for key in keys}
        """Every parameter of the environments → its values; None where a visit has none."""
        branches = {
            self.repo.get_branch_name(branch): set(self.repo.get_branch_commits(branch))
            for branch in conf.branches
        }
        self.members = [
            (number, branch)
            for number, visit in enumerate(visits)
            for branch, commits in branches.items()
            if visit.asv and visit.commit in site.revisions and visit.commit in commits
        ]
        """Visit and branch, for each branch that holds the commit."""

    def files(self) -> dict[str, str]:
        """Return graphs, ``index.json``, ``info.json`` and ``regressions.json``: name → content."""
        files, used = {}, []
        for name, params, text in self._graphs():
            files[f"{Graph.get_file_path(params, name)}.json"] = text
            if params not in used:
                used.append(params)
        moment = int(self.site.at.timestamp() * 1000)
        about = {"asv-version": version("asv"), "timestamp": moment}
        return files | {
            "index.json": foreign.dumped(self._index(used)),
            "info.json": foreign.dumped(about),
            "regressions.json": foreign.dumped({"regressions": self._regressions()}),
        }

    def _index(self, used: list[Params]) -> dict[str, Any]:
        site, conf, repo = self.site, self.conf, self.repo
        dates = {visit.commit: visit.date for visit in site.known.visits if visit.date is not None}
        tags = repo.get_tags().items()
        return {
            "project": conf.project,
            "project_url": conf.project_url,
            "show_commit_url": conf.show_commit_url,
            "hash_length": conf.hash_length,
            "revision_to_hash": {number: commit for commit, number in site.revisions.items()},
            "revision_to_date": {
                number: dates.get(commit) or repo.get_date_from_name(commit)
                for commit, number in site.revisions.items()
            },
            "params": {key: sorted(values, key=_rank) for key, values in self.params.items()}
            | {"branch": [repo.get_branch_name(branch) for branch in conf.branches]},
            "graph_param_list": used,
            # Without this the explorer takes more of any tracked value (bytes, errors) for better.
            "benchmarks": {
                name: {"less_is_better": True} | entry for name, entry in site.benchmarks.items()
            },
            "machines": site.machines,
            "tags": {tag: site.revisions[name] for tag, name in tags if name in site.revisions},
            "pages": [],
        }

    def _graph_params(self, visit: int, branch: str) -> Params:
        own = self.site.known.visits[visit].asv
        return {key: _plain(own, key) for key in self.params} | {"branch": branch}

    def _graphs(self) -> Iterator[tuple[str, Params, str]]:
        """Yield benchmark, the parameters of its environment, and the graph as asv writes it."""
        known, site = self.site.known, self.site
        visits, cases, figures = known.visits, known.cases, known.measured
        lines: dict[str, tuple[Params, list[int]]] = {}
        for visit, branch in self.members:
            params = self._graph_params(visit, branch)
            lines.setdefault(Graph.get_file_path(params, ""), (params, []))[1].append(visit)
        for name, entry in site.benchmarks.items():
            columns = {params: place for place, params in enumerate(grid(entry))}
            places = np.full(len(cases), -1)
            for number, case in enumerate(cases):
                if case.benchmark == name and is_current(name, case.version, site.benchmarks):
                    places[number] = columns.get(case.params, -1)
            mine = figures[places[figures["case"]] >= 0]
            table = np.full((len(visits), len(columns)), np.nan)
            table[mine["visit"], places[mine["case"]]] = mine["value"]
            for params, own in lines.values():
                revisions = [site.revisions[visits[visit].commit] for visit in own]
                text = _graph(table[own], revisions, entry)
                if text is not None:
                    yield name, params, text

    def _regressions(self) -> list[list[Any]]:
        """Return asv's list, of the changes for the worse that our detector finds."""
        visits = self.site.known.visits
        of_visit = {id(visits[visit]): (visit, branch) for visit, branch in self.members}
        found = []
        for one in (one for machine in self.site.changes.values() for one in machine):
            where = of_visit.get(id(one.suspects[-1]))
            finite = math.isfinite(one.change.before) and math.isfinite(one.change.after)
            if one.change.ratio > 1 and where and finite and one.key[0] in self.site.benchmarks:
                found.append(self._regression(one, self._graph_params(*where)))
        return found

    def _regression(self, one: Since, params: Params) -> list[Any]:
        name, values = one.key
        entry = self.site.benchmarks[name]
        place = grid(entry).index(values) if entry["params"] else None
        first, last = one.last_before.commit, one.suspects[-1].commit
        revisions = self.site.revisions
        ends = [None if len(one.suspects) == 1 else revisions[first], revisions[last]]
        before, after = one.change.before, one.change.after
        words = f"{name}({', '.join(values)})" if values else name
        told = {key: params[key] for key, values in self.params.items() if len(values) > 1}
        path = f"{Graph.get_file_path(params, name)}.json"
        return [words, path, told, place, after, before, [[*ends, before, after]]]


def _rank(value: Any) -> str:
    return "[none]" if value is None else str(value)


def _plain(params: Mapping[str, Any], key: str) -> Any:
    """Return a parameter as asv reads it: a null is an empty text, and what is not there None."""
    return ("" if params[key] is None else params[key]) if key in params else None


def _graph(table: Any, revision: list[int], entry: Mapping[str, Any]) -> str | None:
    """Return revisions and figures, without the edges where there are none; None without any."""
    whole = pd.DataFrame(table).groupby(np.array(revision)).mean()  # of a commit's environments
    known = np.flatnonzero(whole.notna().any(axis=1))
    if not len(known):
        return None
    kept = whole.iloc[known[0] : known[-1] + 1]
    rows = kept.to_numpy().tolist()
    values = rows if entry["params"] else [row[0] for row in rows]
    points = list(zip(kept.index.tolist(), values, strict=True))
    # The only words in this text are those for missing numbers.
    return json.dumps(points, separators=(",", ":")).replace("NaN", "null")
