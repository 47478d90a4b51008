"""The process in which somebody's file runs: ``python -m rnnbench.diagnosis.child``.

Reads one JSON object from the command line (file, name, options of `rnnbench.diagnose`, out,
loaded) and writes one to ``out``: ``{"diagnosis": …}``, ``{"usage": sentence}`` or
``{"raised": sentence}``. The file ``loaded`` is made once the program is in. Started by
`rnnbench.diagnosis.process`, which ends it when its time is up.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from rnnbench.errors import InputError


def main(request: dict[str, Any]) -> dict[str, Any]:
    """Load, diagnose, and say in a dict what came of it."""
    from rnnbench.diagnosis.examine import diagnose
    from rnnbench.diagnosis.guard import in_words, watched
    from rnnbench.spec import Spec

    said: dict[str, None] = {}
    who = "the file"
    try:
        with watched(said):
            candidate = load(Path(request["file"]), request["name"])
        Path(request["loaded"]).touch()
        who = "diagnosing it"
        options = dict(request["options"])
        if options.get("spec") is not None:
            options["spec"] = Spec(**options["spec"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ours: what is printed here is taken for theirs
            found = diagnose(candidate, **options)
    except InputError as error:
        return {"usage": str(error)}
    # A keyboard interrupt is theirs as well: no key reaches a process in a session of its own.
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 (their program)
        if isinstance(error, KeyboardInterrupt) and who != "the file":
            who = "the candidate"  # whatever else it raises is its answer
        return {"raised": "; ".join([f"{who} raised {in_words(error)}", *said])}
    found.candidate = request["name"]
    found.notes = [*said, *found.notes]
    return {"diagnosis": found.to_dict()}


def load(file: Path, name: str) -> Any:
    """The object called ``name``, dotted or not, in a file that is executed for it.

    A class is called without arguments. Raises InputError where there is no such name.
    """
    sys.path.insert(0, str(file.resolve().parent))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise InputError(f"FILE must be a Python file; got {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            known = [n for n in vars(module) if not n.startswith("_")]
            raise InputError(
                f"NAME must be defined in {file.name} ({', '.join(known[:8]) or 'nothing is'}); "
                f"got {name!r}"
            )
        found = getattr(found, part)
    if not isinstance(found, type):
        return found
    try:
        return found()
    except TypeError as error:
        raise InputError(
            f"NAME must be an object, a function or a class without arguments; {name}() raised "
            f"{error}. Write for example `mine = {name}(…)` and name `mine`"
        ) from error


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    answer = json.dumps(main(asked))
    partial = Path(asked["out"]).with_suffix(".partial")
    partial.write_text(answer, encoding="utf-8")
    partial.replace(asked["out"])
    for stream in (sys.stdout, sys.__stdout__):
        with suppress(Exception):  # it may have been replaced by anything
            stream.flush()  # type: ignore[union-attr]
    os._exit(0)  # threads and exit handlers of somebody's program do not hold us up
