"""Error rates of verdicts on a machine: a commit against itself, and against slowed copies.

calibrate  trials one after another, each kept as it ends: start here
trial      one verdict whose truth is known
plant      copies of an installed commit, and which case is slowed by how much
asv_rule   asv's own comparison of the same pairs
card       the error rates that are kept;  count  trials to a card;  spread  of instruction counts
"""
