"""The process in which a script runs: ``python -m rnnbench.diagnosis.script.child``.

Reads one JSON object from the command line (file, seconds, out; repair, or reach and setup) and
writes ``{"diagnosis": …}``, ``{"reach": …}`` or ``{"raised": sentence}`` to ``out``. Started by
`rnnbench.diagnosis.script.process`, which ends it when its time is up.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from rnnbench.diagnosis.guard import in_words
from rnnbench.diagnosis.script.answer import answer
from rnnbench.diagnosis.script.fence import raise_fence
from rnnbench.diagnosis.script.graph import Following, following
from rnnbench.diagnosis.script.mend import mended
from rnnbench.diagnosis.script.reach import reach_of
from rnnbench.diagnosis.script.run import Run, execute, run
from rnnbench.diagnosis.script.source import Source
from rnnbench.diagnosis.script.watch import Watch

MENDINGS = 5


def main(request: dict[str, Any]) -> dict[str, Any]:
    """Run the script and say in a dict what came of it."""
    file, seconds = Path(request["file"]).resolve(), request["seconds"]
    sys.path[:1] = [str(file.parent)]
    try:
        if request.get("reach"):
            return {"reach": reached(file, seconds, request["setup"])}
        return {"diagnosis": diagnosed(file, seconds, repair=request["repair"])}
    except Exception as error:  # noqa: BLE001 (a script may leave anything behind)
        return {"raised": f"diagnosing it raised {in_words(error)}"}


def reached(file: Path, seconds: float | None, setup: str | None) -> dict[str, Any]:
    """Return what the losses of a training script reach, as JSON has it."""
    source = Source(file, file.read_text(encoding="utf-8"))
    follow = Following(source)
    found = Run(source, Watch(source), {})
    execute(found, following(follow), seconds, Path(setup) if setup else None)
    return reach_of(found, follow, file.name).to_dict()


def diagnosed(file: Path, seconds: float | None, *, repair: bool) -> dict[str, Any]:
    """Return the diagnosis, after mending where that is wanted, as JSON has it."""
    text = file.read_text(encoding="utf-8")
    done: list[str] = []
    found = run(file, text, seconds)
    while repair and len(done) < MENDINGS and (better := mended(found)) is not None:
        text, said = better
        done.append(said)
        found = run(file, text, seconds)
    result = answer(found)
    assert result.script is not None
    result.script.mended = done
    return result.to_dict()


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    out = Path(asked["out"])
    raise_fence(out.parent)
    said = json.dumps(main(asked))
    partial = out.with_suffix(".partial")
    partial.write_text(said, encoding="utf-8")
    partial.replace(out)
    for stream in (sys.stdout, sys.__stdout__):
        with suppress(Exception):  # it may have been replaced by anything
            stream.flush()  # type: ignore[union-attr]
    os._exit(0)  # threads and exit handlers of the script do not hold us up
