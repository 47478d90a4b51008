"""The Atom feed (RFC 4287): each verdict that is not all good, and the first good one after it.

Ids are made from the names of the verdicts' files, so that an entry stays itself however often the
site is published; nothing in it names another host but the namespace of the format.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime
from urllib.parse import quote
from xml.etree import ElementTree

from rnnbench.exit_codes import GOOD
from rnnbench.files import foreign
from rnnbench.judge.site.data.judged import EPOCH, Judged, One, moment
from rnnbench.judge.verdict import text as words
from rnnbench.judge.verdict.answer import CaseAnswer, Status, Verdict

NAMESPACE = "http://www.w3.org/2005/Atom"
SHOWN = 20
"""Cases that an entry names."""


def render(judged: Judged, project: str) -> str:
    """Return the whole feed as text, newest first."""
    ElementTree.register_namespace("", NAMESPACE)
    feed = ElementTree.Element(f"{{{NAMESPACE}}}feed")
    entries = sorted(
        (
            (moment(one.value.at), host.name, one)
            for host in judged.hosts.values()
            for one in _worth_telling(host.verdicts)
        ),
        key=lambda entry: (entry[0], entry[1]),
        reverse=True,
    )
    newest = max((entry[0] for entry in entries), default=EPOCH)
    _add(feed, "id", _id(f"feed of {project}"))
    _add(feed, "title", f"{project}: verdicts")
    _add(feed, "updated", newest.isoformat())
    _add(_add(feed, "author"), "name", project)
    _add(feed, "link", rel="self", type="application/atom+xml", href="feed.xml")
    _add(feed, "link", rel="alternate", type="text/html", href="regressions.html")
    for at, host, one in entries:
        _entry(feed, at, host, one)
    ElementTree.indent(feed)
    return ElementTree.tostring(feed, encoding="unicode", xml_declaration=True) + "\n"


def _worth_telling(verdicts: list[One[Verdict]]) -> Iterator[One[Verdict]]:
    """Yield those that the feed tells of; ``verdicts`` are newest first."""
    for number, one in enumerate(verdicts):
        before = verdicts[number + 1].value if number + 1 < len(verdicts) else None
        if one.value.exit_code != GOOD or (before and before.exit_code != GOOD):
            yield one


def _entry(feed: ElementTree.Element, at: datetime, host: str, one: One[Verdict]) -> None:
    verdict = one.value
    entry = _add(feed, "entry")
    _add(entry, "id", _id(one.file))
    _add(entry, "title", f"{host}: {words.headline(verdict)}")
    _add(entry, "updated", at.isoformat())
    _add(entry, "link", rel="alternate", type="application/json", href=quote(one.file))
    _add(entry, "content", _account(verdict), type="text")


def _account(verdict: Verdict) -> str:
    """Return what is slower, by how much, since when and how to see it again; plain text."""
    lines = [f"{side.hash[:12]} {side.subject}" for side in (verdict.base, verdict.head)]
    lines = [f"Base {lines[0]}", f"Head {lines[1]}", words.counts(verdict)]
    noted = verdict.of(Status.REGRESSION) + verdict.of(Status.BROKEN)
    lines += [_case(case) for case in noted[:SHOWN]]
    if len(noted) > SHOWN:
        lines.append(f"… and {len(noted) - SHOWN} more")
    if verdict.of(Status.REGRESSION):
        if verdict.commits:
            lines.append(f"Since one of: {', '.join(hash_[:12] for hash_ in verdict.commits)}")
        lines.append(words.command(verdict, verdict.of(Status.REGRESSION)[:5]))
    return "\n".join(lines)


def _case(case: CaseAnswer) -> str:
    parts = [f"{case.status}: {case.name}", words.effect(case)]
    parts += [f"({words.interval(case)})" if words.interval(case) else "", case.reason or ""]
    return " ".join(part for part in parts if part)


def _add(
    parent: ElementTree.Element, name: str, content: str = "", **attributes: str
) -> ElementTree.Element:
    """Add a child with text, without the control characters that XML cannot hold."""
    child = ElementTree.SubElement(parent, f"{{{NAMESPACE}}}{name}", attributes)
    if content:
        child.text = foreign.clean(content)
    return child


def _id(name: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"rnnbench:{name}").urn
