"""Numba's JIT: time loops compiled for the CPU, forward and by hand-derived BPTT backward."""
