"""The published site's part on recurrent networks, on top of `rnnbench.judge.site`.

data      everything that is read from the disk
sections  parts of pages, from what was read
pages     the pages: they fill templates and read nothing
charts    curves and the roofline as SVG
jobs      programs that measure and leave what they saw beside asv's results

Nothing is imported here: asv imports this package at every command.
"""
