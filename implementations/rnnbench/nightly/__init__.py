"""The nightly run: measure what is new within a time budget, judge, publish.

night     what a night did, for the report
"""
