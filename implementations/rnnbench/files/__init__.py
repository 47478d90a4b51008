"""Files that outlive a process. Standard library only.

atomic   write a file whole or not at all
jsonl    files with one JSON object per line
schema   dataclasses as JSON objects and back, checked by their type annotations
records  one JSON object per file below asv's results directory
git      ask git, and take files out of its commits
machine  processor, host and versions, for every record
"""
