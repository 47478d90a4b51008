"""Judge commits of a project that asv measures: did it get slower, by how much, how sure is that.

verdict      base against head, in paired rounds
calibration  the error rates of such verdicts on this machine
nightly      measure what is new within a time budget, judge, publish
history      change points in a series of commits

suite        the project's own part: control, choice of cases, planted slowdown, pages
project      an asv.conf.json;  commits  the project's commits, as git knows them
engine       asv as a tool;  supervised  a process tree that dies with its parent
lock         one run a machine

Nothing here imports another room of rnnbench than `files`, or a framework.
"""
