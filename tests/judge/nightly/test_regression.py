"""A planted regression goes through the whole path: verdict, exit code, Markdown, a clean night."""

from __future__ import annotations

from scratch import Scratch

from rnnbench.files import records
from rnnbench.judge.nightly.night import Night
from rnnbench.judge.verdict.answer import Status, Verdict

SLOWER = 4  # times; far above the threshold, as CI's machines are noisy
CASE = "suite.Work.time_work(3, a)"


def test_a_slowed_commit_is_named_until_it_is_mended(scratch: Scratch) -> None:
    """In an existing environment, whose package is the checkout's."""
    scratch.path = str(scratch.root)
    summary = scratch.root / "summary.md"
    options = ("--environment", "existing", "--verdict-share", "0.5", "--bench", "time_work.*a")
    options = (*options, "--threshold", "50", "--budget", "2m", "--markdown", str(summary))
    assert scratch.nightly(*options).returncode == 0

    slow = scratch.commit("Slow", cost=SLOWER)
    done = scratch.nightly(*options)
    assert done.returncode == 1, done.stdout + done.stderr
    (verdict,) = records.read(scratch.results, records.VERDICTS, Verdict.from_dict)
    assert verdict.value is not None
    assert verdict.value.commits == (slow,)
    (case,) = [case for case in verdict.value.cases if case.name.endswith("(3, a)")]
    assert case.status is Status.REGRESSION
    assert case.low is not None
    assert case.high is not None
    assert case.high > case.low > 1  # how near it comes to SLOWER is planted_regression's to say
    text = summary.read_text()
    assert "a regression" in text.splitlines()[0]
    assert case.name in text
    assert slow[:12] in text
    nights = [one.value for one in records.read(scratch.results, records.NIGHTS, Night.from_dict)]
    assert nights[-1] is not None
    assert nights[-1].verdict is not None
    assert (scratch.results / nights[-1].verdict).exists()

    scratch.commit("Mended")
    mended = scratch.nightly(*options)
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert "clean" in summary.read_text().splitlines()[0]
