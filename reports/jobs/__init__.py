"""Programs that measure and leave what they saw beside asv's results."""
