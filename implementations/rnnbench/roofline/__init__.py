"""Limits of the processor: multiply-adds, and bytes read from each level of memory, per second.

    kernels    the two loops that are timed
    caches     the levels of memory, and how much to read from each
    cost       operations and bytes of a case
    measure    rounds of both on so many threads
    model      what a case can reach on a measured roofline (Williams, Waterman, Patterson 2009)
    store      the file that keeps a roofline

``rnnbench roofline`` measures; ``rnnbench compare`` and the report's page "Speed" read.
"""
