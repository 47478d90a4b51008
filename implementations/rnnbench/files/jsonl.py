"""Files of JSON objects, a line each, that several processes may append to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def append(made: Mapping[str, Any], target: Path) -> Path:
    """Add a line in one write, so that a killed run loses that line at most; folders are made.

    Raises ValueError for NaN or infinity, which JSON does not have.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(made, allow_nan=False, default=str) + "\n"
    descriptor = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
    return target
