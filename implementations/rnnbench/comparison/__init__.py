"""Backends against each other: alternated in one process, on equal threads, behind parity.

One case is one network and one run of it. Every candidate is checked against the oracle for that
very case first, and who fails gets no time. Then all are timed in rounds, one sample of each per
round, the order rotated from round to round: what the machine does to one round it does to all, and
no candidate always follows the same other. A sample is as many calls as take `timing.SAMPLE`
seconds. What a call is, is in `rnnbench.comparison.work`; how threads are held equal, in
`rnnbench.comparison.threads`; the statistics, in `rnnbench.comparison.statistics`.

Thread pools take their size when a library is first used. So each number of threads has a process
of its own, ``python -m rnnbench.comparison``, which ``rnnbench compare`` starts.
"""
