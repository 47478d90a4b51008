"""The report: asv's results and our records to one offline site (``asv publish``).

Nothing is imported here: asv imports this package at every command.
"""
