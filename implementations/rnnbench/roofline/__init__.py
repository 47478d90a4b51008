"""What the processor can do at most: multiply-adds, and bytes read from each level of its memory.

    kernels    the two loops that are timed
    caches     the levels, as the system tells them, and how much to read from each
    measure    rounds of both on so many threads
    model      what a case can reach on a measured roofline (Williams, Waterman, Patterson 2009)
    store      where a roofline is kept

``rnnbench roofline`` measures; ``rnnbench compare`` and the report's page "Speed" read.
"""
