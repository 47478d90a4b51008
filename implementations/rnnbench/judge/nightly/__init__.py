"""The nightly run: measure what is new within a time budget, judge, publish.

night      what a night did, for the report
shard      which cases belong to which machine of a fleet
clone      what git knows: head, new commits, what is wrong with the clone
lock       one run a machine
tied       a command that dies with the night, and takes its processes along
engine     asv as a tool: list the suite, run a unit, publish
units      a commit and some cases of one benchmark: what is left, and in which order
ledger     what earlier nights know: what failed where, how long things take
filing     result files: taken over whole, or set aside
accounts   what went wrong in a unit, in a sentence
run        the night itself: start here;  plan  what it is asked for
parts      its verdict and its calibration, which are commands of their own
summary    the night as text
foreign    a verdict from a stranger's artifact: checked strictly, then a comment
"""
