"""asv's benchmarks: taken from the working tree and run on the package of each commit.

Nothing here comes from the package but by its public names, and each of those is guarded
(`package`), since old commits lack some. `cases` is the one list of what is measured.

Threads are pinned here, before any library that reads these variables is imported.
"""

import os

THREADS = int(os.environ.get("RNNBENCH_THREADS", "1"))
"""Threads that every pool is held to; checked again in each measuring process (`machine`)."""

for _variable in (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TORCHINDUCTOR_COMPILE_THREADS",  # else each forked case starts a pool of compile workers
):
    os.environ[_variable] = str(THREADS)
