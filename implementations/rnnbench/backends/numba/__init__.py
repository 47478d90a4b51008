"""Vector kernels for the CPU, emitted through Numba: forward and by hand-derived BPTT backward."""
