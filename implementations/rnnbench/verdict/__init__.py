"""Verdicts on commits: is head slower than base, by how much, and how sure is that.

answer    what a verdict says, and its exit code
card      what a machine's verdicts are worth: false alarms, recall
stored    where both are kept as JSON
"""
