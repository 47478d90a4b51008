"""Plain Numba, a loop for a sum: the reference of the vector kernels, and a choice by name."""
