"""Verdicts on commits: is head slower than base, by how much, and how sure is that.

run          two names of commits → a verdict: built, judged, explained
judge        two installed sides, a suite and a budget → a verdict and the rounds behind it
decision     the statistics of pairs;  numbers  those of errors, which have no noise
choice       which cases;  sides  what is measured against what
process      how one side is measured once, by  worker  in that side's Python
project      commits built by asv, side by side;  commits  what git knows of them
attribution  code, dependencies or tool;  bisection  which commit
text         a verdict in words
answer       what a verdict says, and its exit code
card         what a machine's verdicts are worth: false alarms, recall
calibration  trials whose truth is known, and the card they give
channels     seconds against counted instructions
history      change points in a nightly series;  planted  its comparison with others
stored       where both are kept as JSON
"""
