"""Vector kernels for the CPU, emitted through Numba: forward and by hand-derived BPTT backward.

What keeps them from the processor's peak, on a Xeon with AVX-512, 48 KiB of L1 and 2 MiB of L2, one
thread, float32, T=128 (`rnnbench compare --table`, `rnnbench roofline`; shares of 241 GFLOP/s):

- Inference with B ≥ 16 reaches 60 to 65 % at (B, H) = (16, 128), 69 to 76 % from (32, 256) on. The
  rest is the cells (some 23 instructions for an activation, of which two start in a cycle: a tenth
  of the time at (16, 128)), the blocks' beginnings and ends (H = 128 is a short sum), packing and
  Python.
- Training reaches 50 to 68 %: δ, dx and the weights' gradients are written to memory and read
  again, and both operands of a weight's gradient are packed.
- With B = 1 the weights are read once for each multiply-add, from the second-level cache: 30 to
  41 % of what its bandwidth allows where that is the limit. The rest is the cells, which wait for
  their sums, and packing; in float64 W_hh of an LSTM with 256 units fills that cache.
- Weights are packed in each call: there is no other way to see every change of them.
"""
