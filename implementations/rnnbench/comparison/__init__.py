"""Backends against each other: alternated in one process, on equal threads, behind parity.

Every candidate is first checked against the oracle in the case that is to be timed; one that fails
gets no time. Then all are timed in rounds, one sample of each per round, in an order that rotates:
a disturbance of one round meets all candidates, and none always follows the same other.

plan        cases, backends, threads and time
compare     parity and timing of one plan in this process
work        the call that is timed
threads     equal threads for all runtimes
timing      samples in alternating rounds
statistics  ratios with their intervals
worker      starts the process that measures, and reads its messages
saving      results beside asv's, for the report

Thread pools take their size when a library is first used. So each number of threads has a process
of its own, ``python -m rnnbench.comparison``, which ``rnnbench compare`` starts.
"""
