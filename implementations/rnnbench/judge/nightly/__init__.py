"""The nightly run: measure what is new within a time budget, judge, publish.

run           the night itself: start here;  plan  the request for it
steps         its steps, and what is known of it on the way
parts         its verdict and its calibration, which are commands of their own
night         the record of a night, for the report
units         a commit and some cases of one benchmark: the rest to measure, its order, shards
ledger        facts that nights hand on: failures, durations, commits left
result_files  asv's files: taken over whole, or set aside
accounts      troubles of a unit and of the clone, in a sentence
summary       the night as text
pr_comment    a verdict from a stranger's artifact: checked strictly, then a comment
"""
