"""Exit codes of the commands; the same for all that judge."""

GOOD, FAILED, USAGE, INCONCLUSIVE, NOTHING_MEASURED, BROKEN = range(6)

TEXT = (
    "Exit codes: 0 all good; 1 a parity failure or regression; 2 wrong usage; "
    "3 inconclusive; 4 nothing was measured; 5 a benchmark or backend broke."
)
