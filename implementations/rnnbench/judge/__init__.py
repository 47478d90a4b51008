"""Judges commits of a project that asv measures: did it get slower, by how much, how sure is that.

verdict      base against head, in paired rounds
calibration  the error rates of such verdicts on this machine
nightly      measures what is new within a time budget, judges, publishes
history      change points in a series of commits

Nothing here knows a recurrent network, torch or numba.
"""
