"""What a stranger's job left is a verdict on the commit asked about, or it is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnbench.judge.nightly import pr_comment
from rnnbench.judge.verdict import text
from rnnbench.judge.verdict.answer import CaseAnswer, Commit, Status, Verdict

HEAD = "b" * 40
CASE = CaseAnswer(
    "speed.Inference.time_inference", (("backend", "numba"),), "time", Status.REGRESSION,
    1.1, 1.05, 1.15, 0.03, 0.001, 0.001, 0.0011, 8, 1, "a reason",
)  # fmt: skip
VERDICT = Verdict(
    "2026-11-22T03:15:00+00:00",
    {"host": "here", "cpu": "some"},
    Commit("a" * 40, "main", "Base"),
    Commit(HEAD, "pr", "Head", {"torch": "2"}),
    0.05,
    0.01,
    8,
    60.0,
    (CASE,),
    {"code": {"says": "it is our code", "ratio": 1.1}},
    (HEAD,),
)


def as_json(verdict: Verdict = VERDICT) -> Any:
    return json.loads(json.dumps(verdict.as_dict()))


def dumped(value: object) -> bytes:
    return json.dumps(value).encode()


def test_what_the_verdict_command_writes_is_taken() -> None:
    assert pr_comment.read(dumped(as_json()), HEAD).cases == (CASE,)
    assert "numba" in pr_comment.comment(pr_comment.read(dumped(as_json()), HEAD))


def _set(*path: Any, to: Any) -> Callable[[Any], None]:
    def change(value: Any) -> None:
        for key in path[:-1]:
            value = value[key]
        value[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_set("schema", to=2), "no verdict of schema"),
        (_set("head", "hash", to="c" * 40), "it judges"),
        (_set("base", "hash", to="main"), "base.hash is no commit's"),
        (_set("commits", to=["$(id)"]), "commits"),
        (_set("cases", 0, "ratio", to="1.1"), "ratio must be float"),
        (_set("cases", 0, "ratio", to=True), "ratio must be float"),
        (_set("cases", 0, "ratio", to=1e300), "ratio must be float"),
        (_set("cases", 0, "rounds", to=1.5), "rounds must be int"),
        (_set("cases", 0, "status", to="fine"), "status must be Status"),
        (_set("cases", 0, "quantity", to="mood"), "quantity"),
        (_set("cases", 0, "params", to=[["a"]]), "must have 2 items"),
        (_set("cases", 0, "params", to=[["a", "b", "c"]]), "must have 2 items"),
        (_set("cases", 0, "reason", to="x" * 1000), "reason must be str"),
        (_set("cases", 0, "more", to=1), "exactly the fields"),
        (_set("cases", to=[{}]), "exactly the fields"),
        (_set("cases", to=[as_json()["cases"][0]] * 5001), "at most 5000"),
        (_set("more", to=1), "exactly the fields"),
        (_set("machine", to={"host": {}}), "machine.host must be str"),
        (_set("head", "versions", to=[]), "must be an object"),
        (_set("at", to="yesterday"), "isoformat"),
        (_set("attribution", to={"code": "it"}), "must be an object"),
        (_set("attribution", to={"code": {"says": 1}}), "says must be str"),
    ],
)
def test_what_is_no_verdict_is_refused(change: Callable[[Any], None], sentence: str) -> None:
    value = as_json()
    change(value)
    with pytest.raises(pr_comment.RefusedError, match=sentence):
        pr_comment.read(dumped(value), HEAD)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"schema": NaN}', b"[" * 100_000, b" " * (5 << 20)],
    ids=["empty", "half", "list", "null", "binary", "nan", "deep", "long"],
)
def test_what_is_no_json_object_is_refused(content: bytes) -> None:
    with pytest.raises(pr_comment.RefusedError):
        pr_comment.read(content, HEAD)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= pr_comment.BOUNDS.text


def _is_date(value: object) -> bool:
    try:
        return _is_text(value) and bool(datetime.fromisoformat(str(value)))
    except ValueError:
        return False


FIELDS: dict[tuple[Any, ...], Callable[[object], bool]] = {
    ("at",): _is_date,
    ("cases", 0, "reason"): lambda value: value is None or _is_text(value),
    ("head", "subject"): _is_text,
    ("attribution",): lambda value: value is None,
}
"""Fields → whether a value that is no object belongs there."""
LEAVES = st.none() | st.booleans() | st.floats() | st.text() | st.just(VERDICT.at)


@pytest.mark.parametrize("path", FIELDS, ids=str)
@settings(deadline=None, derandomize=True)
@given(value=st.recursive(LEAVES, st.lists, max_leaves=5))
def test_any_value_in_any_field_is_refused_or_shown(path: tuple[Any, ...], value: object) -> None:
    changed = as_json()
    _set(*path, to=value)(changed)
    if not FIELDS[path](value):
        with pytest.raises(pr_comment.RefusedError):
            pr_comment.read(dumped(changed), HEAD)
        return
    taken = pr_comment.read(dumped(changed), HEAD)
    assert as_json(taken) == changed
    shown = pr_comment.comment(taken)
    if path != ("at",) and isinstance(value, str):
        assert text.escaped(value) in shown


@pytest.mark.parametrize(
    "markup",
    [
        "@everyone", "<script>x</script>", "<!-- x -->", "![x](http://x.example/i.png)",
        "[click](javascript:x)", "` | \n# heading", "https://x.example",
    ],
)  # fmt: skip
def test_no_text_of_the_stranger_becomes_markup(markup: str) -> None:
    value = as_json()
    for path in (("head", "subject"), ("cases", 0, "reason"), ("attribution", "code", "says")):
        _set(*path, to=markup)(value)
    value["cases"][0]["params"] = [["backend", markup]]
    value["head"]["versions"] = {markup: markup}
    value["machine"]["cpu"] = markup
    shown = pr_comment.comment(pr_comment.read(dumped(value), HEAD))
    outside = "".join(shown.split("`")[::2])  # code spans show what they hold
    outside = re.sub(r"\\.", "", outside)  # and so does what is escaped
    for active in ("@everyone", "<script", "<!--", "](", "https://", "\n# heading"):
        assert active not in outside


def test_the_command_needs_the_standard_library_only(tmp_path: Any) -> None:
    """The job that may write installs nothing."""
    file = tmp_path / "verdict.json"
    file.write_bytes(dumped(as_json()))
    source = str(pr_comment.__file__).rpartition("/rnnbench/")[0]
    program = (
        f"import sys; sys.path.insert(0, {source!r});"
        "from rnnbench.judge.nightly import pr_comment;"
        "sys.exit(pr_comment.main(sys.argv[1:]))"
    )

    def run(head: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-S", "-c", program, str(file), head]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run(HEAD).returncode == 0, run(HEAD).stderr
    assert "Regression" in run(HEAD).stdout
    refused = run("c" * 40)
    assert refused.returncode == 2
    assert refused.stderr.startswith("refused: it judges")
    assert not refused.stdout
