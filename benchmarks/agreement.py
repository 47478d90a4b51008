"""Parity of a case with the oracle, by the package's own check, as the records keep it."""

from __future__ import annotations

import math
from typing import Any

from . import network as networks
from . import package
from .cases import Network
from .memoised import once

Parity = dict[str, Any]


class ParityFailureError(Exception):
    """The case is wrong, so it gets no time; ``parity`` says by how much."""

    def __init__(self, reason: str, parity: Parity) -> None:
        super().__init__(reason)
        self.parity = parity


def require(network: Network) -> Parity:
    """Parity of the case; raises ParityFailureError, or UnsupportedCaseError with the reason.

    A case is checked once in the life of asv's server, whichever of its benchmarks comes first, or
    once for all processes that `once.KEPT` joins.
    """
    found = once(("parity", *vars(network).values()), lambda: _check(network), same=True)
    if found["unsupported"]:
        raise package.UnsupportedCaseError(found["unsupported"])
    if found["raised"]:
        raise RuntimeError(found["raised"])
    parity = found["parity"]
    if not parity["passed"]:
        raise ParityFailureError(_sentence(parity), parity)
    return dict(parity)


def _check(network: Network) -> dict[str, Any]:
    check, case = package.public("check"), package.public("Case")
    package.backend(network.backend)
    result = check(
        network.backend,
        cases=[case(networks.spec(network), network.T, network.sizes.B, network.phase)],
    )
    rows = result.to_frame().to_dict("records")
    return {
        "unsupported": _detail(rows, "unsupported"),
        "raised": _detail(rows, "raised"),
        "parity": _parity(rows, bool(result.passed)),
    }


def _detail(rows: list[dict[str, Any]], status: str) -> str | None:
    return next((row["detail"] for row in rows if row["status"] == status), None)


def _parity(rows: list[dict[str, Any]], passed: bool) -> Parity:
    worst = max(rows, key=_share)
    return {
        "passed": passed,
        "worst_quantity": worst["quantity"],
        "worst_error": _number(worst["error"]),
        "worst_budget": _number(worst["budget"]),
        "quantities": {
            row["quantity"]: {
                "error": _number(row["error"]),
                "budget": _number(row["budget"]),
                "status": row["status"],
            }
            for row in rows
        },
    }


def _share(row: dict[str, Any]) -> float:
    """Error as a share of its budget; without a number it is the worst of all."""
    share = row["error"] / row["budget"]
    return math.inf if math.isnan(share) else share


def _number(value: float) -> float | None:
    """JSON has neither NaN nor infinity."""
    return value if math.isfinite(value) else None


def _sentence(parity: Parity) -> str:
    name = parity["worst_quantity"]
    row = parity["quantities"][name]
    if row["error"] is None:
        return f"{name} failed parity: {row['status']}"
    return (
        f"{name} is {row['error']:.3g} eps from the oracle, its budget is {row['budget']:.3g} "
        f"({row['status']})"
    )
