"""What the verdicts of a machine are worth: the same commit against itself, and slowed copies.

calibrate  trials one after another, each kept as it ends: start here
trial      one verdict whose truth is known
plant      copies of an installed commit, and which case is slowed by how much
slowed     the code that goes into a slowed copy
asv_rule   what asv's own comparison says of the same pairs
count      trials to a card
"""
