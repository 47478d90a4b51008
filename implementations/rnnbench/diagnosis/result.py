"""The result of `rnnbench.diagnose`: findings that print, go to JSON and back, and to a page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rnnbench.diagnosis.account import account
from rnnbench.diagnosis.findings import Findings
from rnnbench.diagnosis.page import page
from rnnbench.files.schema import Bounds, build


@dataclass
class Diagnosis(Findings):
    """The answer: where a candidate first departs from the oracle, and which mistake explains it.

    Prints as an account. ``.passed``, ``.first_divergence`` and ``.cause`` say the main things, the
    other fields are those of `rnnbench.diagnosis.findings.Findings`.
    """

    @property
    def passed(self) -> bool:
        """Return whether everything that could be compared is within its budget."""
        return self.status == "right"

    def to_dict(self) -> dict[str, Any]:
        """Return all of it for JSON, which has no infinity: such a number is null."""
        return {"passed": self.passed, **_plain(asdict(self))}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Diagnosis:
        """Return the diagnosis that `to_dict` was called on; null becomes infinity in a number.

        Raises `rnnbench.files.schema.SchemaError` for anything else.
        """
        own = {name: value for name, value in data.items() if name != "passed"}
        return build(cls, own, "diagnosis", Bounds(null=math.inf))

    def to_html(self) -> str:
        """Return one self-contained page."""
        return page(self)

    def __bool__(self) -> bool:
        raise TypeError("ask for .passed: a Diagnosis has no truth value of its own")

    def __str__(self) -> str:
        return account(self)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
