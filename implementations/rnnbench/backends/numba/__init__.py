"""Vector kernels for the CPU, emitted through Numba: forward and by hand-derived BPTT backward.

What keeps them from the processor's peak, on a Xeon with AVX-512, 48 KiB of L1 and 2 MiB of L2, one
thread, float32, T=128 (`rnnbench compare --table`, `rnnbench roofline`; shares of 241 GFLOP/s):

- The product itself runs at 80 to 88 % where B comes from the second-level cache.
- Inference with B ≥ 16 reaches 60 to 65 % at (B, H) = (16, 128), 69 to 76 % from (32, 256) on. The
  rest is the cells (some 23 instructions for an activation, of which two start in a cycle: a tenth
  of the time at (16, 128)), the blocks' beginnings and ends (H = 128 is a short sum), packing and
  Python.
- Training reaches 50 to 68 %: δ, dx and the weights' gradients are written to memory and read
  again, and both operands of a weight's gradient are packed.
- With B = 1 the weights are read once for each multiply-add. The product reads 160 of some 170 GB/s
  that the second-level cache gives; in a step its time is 60 to 80 % of the whole. In float64 W_hh
  of an LSTM with 256 units fills that cache, and what falls out comes at 27 GB/s.
- Weights are packed in each call, a tenth of a batch of one's time at H = 256: there is no other
  way to see every change of them.
"""
