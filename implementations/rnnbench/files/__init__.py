"""Files that outlive a process, and what their records say of the machine.

jsonl    files with one JSON object per line
records  one JSON object per file below asv's results directory
machine  processor, host and versions
"""
