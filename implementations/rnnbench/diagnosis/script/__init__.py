"""Diagnose a script as it is: it runs once, is watched, and is judged by the numbers of that run.

process, child     the script in a process of its own
fence              what a script may not do there
run                one run of it as ``__main__``, and where it ended
source             its text: lines, expressions, names that are defined nowhere
watch, seen, calls what it computed: calls of torch's networks, comparisons, sums
views, variables,
held, match        which of its tensors is held against which part of which quantity
answer, parts      place and cause; the terms of a gradient
trouble, mend      the error that it raised in the words of its network, and the obvious mending
graph, reach,
reached            what each loss of a training script reaches: ``rnnbench reach``
words              the part of the account that only a script has
"""
