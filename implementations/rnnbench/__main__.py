"""``python -m rnnbench``: the command ``rnnbench``."""

from rnnbench.cli import app

app(prog_name="rnnbench")
