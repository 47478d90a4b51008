"""The published site of any asv suite: one static folder, readable from the disk and offline.

data     everything that is read: asv's results and records, verdicts, git, changes of level
html     text, figures, charts and templates
pages    what every suite has: overview, regressions, error rates, environment, commits, feed, JSON
publish  the one publisher, behind ``rnnbench publish`` and ``asv publish``

A suite adds pages of its own by the module that its asv.conf.json names: ``"rnnbench": {"pages":
"…"}``. It defines ``pages(site)``, which returns file name → content and is given the
`data.site.Site`, and may define ``TITLES``, file name → words in the navigation, and ``PROVEN``,
beginnings of the names of benchmarks whose values count as unproven without a passed check.
"""
