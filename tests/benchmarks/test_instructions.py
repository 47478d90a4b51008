"""Instructions are counted under valgrind, or it is said why not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from benchmarks import cases, instructions, package
from benchmarks.cases import Network

NETWORK = Network("inference", "manual", "gru", 16, 1, 1, "single")
FAKE = """#!/bin/sh
for word; do case $word in --callgrind-out-file=*) out=${word#*=};; esac; done
for n in 1 2 3; do echo "summary: 10$n" > $out.$n; done
while [ "${1#--}" != "$1" ]; do shift; done
exec "$@"
"""


class Counting(instructions.Counted):
    """A final benchmark, in whatever profile."""

    phase = "inference"

    def track_instructions(self, *params: object) -> int:
        return int(self.answer["instructions"])


def tools(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools of valgrind's names that write what valgrind would."""
    for name, text in (("valgrind", FAKE), ("callgrind_control", "#!/bin/sh\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("machine", "said"),
    [("x86_64", "valgrind and callgrind_control not installed"), ("arm64", "x86-64 only")],
)
def test_where_nothing_can_be_counted_the_case_is_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, machine: str, said: str
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(instructions.platform, "machine", lambda: machine)
    with pytest.raises(package.UnsupportedCaseError, match=said):
        Counting().prepare("manual", "gru", 16, 1, 1, "single")


def test_the_count_is_the_median_of_the_dumps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools(tmp_path, monkeypatch)
    monkeypatch.setattr(instructions, "_grid", lambda: [NETWORK])
    found = instructions._counts()
    assert found[repr(NETWORK)]["instructions"] == 102
    assert found[repr(NETWORK)]["identity"]["kernel"].startswith("torch loop")


def test_what_the_counting_process_says_last_is_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools(tmp_path, monkeypatch)
    (tmp_path / "valgrind").write_text("#!/bin/sh\necho it broke >&2\nexit 3\n")
    monkeypatch.setattr(instructions, "_grid", lambda: [NETWORK])
    with pytest.raises(RuntimeError, match="it broke"):
        instructions._counts()


def test_each_counted_case_is_timed_as_well() -> None:
    for profile in ("nightly", "full"):
        for axis, added in cases.INSTRUCTIONS.items():
            timed = cases.values(cases.NETWORKS[axis], profile)
            assert set(cases.values(added, profile)) <= set(timed)
    assert cases.values(cases.INSTRUCTIONS["cell"], "quick") == []
