"""One run of a script as ``__main__``: what it left behind, and where it ended."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rnnbench.diagnosis.limit import TimeLimit, TimeUpError
from rnnbench.diagnosis.script.source import At, Source
from rnnbench.diagnosis.script.watch import Watch, watching


@dataclass
class Run:
    """A script that has run.

    names   its variables at the end, or those in reach of the line at which it failed
    error   what it raised, None if it came to its end
    at      where it raised it
    late    whether it was ended because its time was up
    """

    source: Source
    watch: Watch
    names: dict[str, Any]
    error: BaseException | None = None
    at: At | None = None
    late: bool = False

    @property
    def line(self) -> int:
        """The line at which it failed."""
        if isinstance(self.error, SyntaxError) and self.error.lineno:
            return self.error.lineno
        return self.at.line if self.at is not None else 0


def run(file: Path, text: str, seconds: float | None) -> Run:
    """Run a script from its first line to its end, its first error, or the time limit; watched."""
    source = Source(file, text)
    watch = Watch(source)
    return execute(Run(source, watch, {}), watching(watch), seconds)


def execute(
    found: Run, context: AbstractContextManager[None], seconds: float | None,
    before: Path | None = None,
) -> Run:  # fmt: skip
    """Run a script in a context and fill in how it went; ``before`` is run first, in its names."""
    source, module = found.source, ModuleType("__main__")
    module.__dict__.update(__file__=source.file, __builtins__=__builtins__)
    found.names = module.__dict__
    main, arguments = sys.modules["__main__"], sys.argv
    sys.modules["__main__"], sys.argv = module, [source.file]
    limit = TimeLimit(seconds)
    try:
        if before is not None:
            given = compile(before.read_text(encoding="utf-8"), str(before), "exec")
            try:
                exec(given, module.__dict__)  # noqa: S102 (part of what is asked about)
            except Exception as error:
                error.add_note("in the set-up")
                raise
        code = compile(source.text, source.file, "exec")
        with limit.running("the script"), context:
            exec(code, module.__dict__)  # noqa: S102 (the script is what is asked about)
    except TimeUpError:
        found.late = True
    except SystemExit as end:
        if end.code not in (None, 0):
            found.error = end
    except BaseException as error:  # noqa: BLE001 (whatever it raises is its answer)
        found.error = error
    finally:
        sys.modules["__main__"], sys.argv = main, arguments
    _find(found)
    return found


def _find(found: Run) -> None:
    """Add where the script failed, and the variables of that place."""
    trace = found.error.__traceback__ if found.error is not None else None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == found.source.file:
            found.at = At(trace.tb_frame.f_code, trace.tb_lasti)
            local = trace.tb_frame.f_locals
        trace = trace.tb_next
    if found.at is not None and local is not found.names:
        found.names = found.names | local
