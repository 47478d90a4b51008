"""Verdicts on commits: is head slower than base, by how much, and how sure is that.

run          two names of commits → a verdict: built, judged, explained
pairs        two installed sides, a suite and a budget → a verdict and the rounds behind it
decision     the statistics of pairs;  numbers  those of errors and counts, which have no noise
choice       the cases;  sides  the two sides that are compared
process      measuring one side once, by  worker  in that side's Python
building     commits built by asv, installed side by side
attribution  code, dependencies or tool;  bisection  the commit
text         a verdict in words
answer       the outcome of each case, and the exit code
channels     seconds against counted instructions
"""
