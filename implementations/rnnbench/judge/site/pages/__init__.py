"""The pages that every suite has; each takes what was read and gives text, and reads nothing."""
