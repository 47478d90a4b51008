"""Verdicts on commits: is head slower than base, by how much, and how sure is that.

judge     two sides, a suite and a budget → a verdict and the rounds behind it: start here
decision  the statistics of pairs;  numbers  those of errors, which have no noise
sides     what is measured;  process, worker  how one side is measured once
answer    what a verdict says, and its exit code
card      what a machine's verdicts are worth: false alarms, recall
stored    where both are kept as JSON
"""
