"""The measuring kernels compute what they claim, all of it, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from rnnbench.backends.numba.vector import Lanes
from rnnbench.roofline import kernels

DTYPES = ("float32", "float64")


def address(array):
    return array.ctypes.data


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("turns", [1, 2, 7])
def test_every_sum_gets_every_multiply_add(dtype, turns):
    count = kernels.SUMS * Lanes.of(dtype).width
    sums = np.arange(count + 3, dtype=dtype)
    one = np.ones(1, dtype)
    kernels.multiply_adds(sums, address(one), address(one), address(sums), turns)
    expected = np.arange(count + 3, dtype=dtype)
    expected[:count] += turns * kernels.TIMES  # whole numbers: exact
    np.testing.assert_array_equal(sums, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_multiply_adds_multiply(dtype):
    sums = np.full(kernels.SUMS * Lanes.of(dtype).width, 3.0, dtype)
    factor, addend = np.array([2.0], dtype), np.array([-1.0], dtype)
    kernels.multiply_adds(sums, address(factor), address(addend), address(sums), 1)
    # s − 1 doubles each time
    np.testing.assert_array_equal(sums, 1 + 2.0 * 2**kernels.TIMES)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("turns", "passes"), [(1, 1), (5, 1), (1, 4), (6, 3)])
def test_every_vector_is_read_in_every_pass(dtype, turns, passes):
    each = kernels.READS * Lanes.of(dtype).width
    random = np.random.default_rng(turns)
    source = random.integers(-8, 8, turns * each + 5).astype(dtype)
    source[turns * each :] = np.nan  # not to be read
    sums = np.arange(each + 2, dtype=dtype)
    factor = np.array([3.0], dtype)
    kernels.reads(sums, address(factor), address(source), address(sums), turns, passes)
    expected = np.arange(each + 2, dtype=dtype)
    expected[:each] += 3 * passes * source[: turns * each].reshape(turns, each).sum(0)
    np.testing.assert_array_equal(sums, expected)


def assembly(kernel):
    return [compiled.library.get_asm_str() for compiled in kernel.overloads.values()]


def test_compiled_code_holds_as_many_multiply_adds_as_are_counted():
    sums = np.ones(kernels.SUMS * Lanes.of("float32").width, np.float32)
    source, one = sums.copy(), np.ones(1, np.float32)
    kernels.multiply_adds(sums, address(one), address(one), address(sums), 1)
    kernels.reads(sums, address(one), address(source), address(sums), 1, 1)
    for text in assembly(kernels.multiply_adds):
        if "vfmadd" not in text:
            pytest.skip("not an x86 processor with fused multiply-adds")
        assert text.count("vfmadd") >= kernels.SUMS * kernels.TIMES
    for text in assembly(kernels.reads):
        assert text.count("vfmadd") >= kernels.READS
