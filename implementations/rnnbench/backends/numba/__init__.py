"""Vector kernels for the CPU, emitted through Numba: forward and by hand-derived BPTT backward.

What keeps them from the processor's peak, on a Xeon with AVX-512, 48 KiB of L1 and 2 MiB of L2, one
thread, float32, T=128 (`rnnbench compare --table`, `rnnbench roofline`; shares of 228 GFLOP/s and,
of the second-level cache, 170 GB/s):

- Inference with B ≥ 16 reaches 67 to 70 % at (B, H) = (16, 128), 75 to 86 % from (32, 256) on. The
  rest is the cells (some 23 instructions for an activation, of which two start in a cycle: a tenth
  of the time at (16, 128)), the blocks' beginnings and ends (H = 128 is a short sum), packing and
  Python.
- Training reaches 52 to 78 %: δ, dx and the weights' gradients are written to memory and read
  again, and both operands of a weight's gradient are packed.
- With B = 1 the weights are read once for each multiply-add, from the second-level cache: 44 to
  51 % of what its bandwidth allows where that is the limit. The rest is the inputs' products, the
  cells, which wait for their sums, and packing. In float64 they are twice as many bytes, and W_hh
  of an LSTM with 256 units fills that cache: there inference is less than twice torch's speed.
- Weights are packed in each call: there is no other way to see every change of them.
"""
