"""What a case can reach: operations, bytes, levels and bounds, against figures made by hand."""

from __future__ import annotations

import pytest

from rnnbench import Case, Spec
from rnnbench.roofline.cost import NUMBER_BYTES, flops, read_bytes, step_bytes
from rnnbench.roofline.model import attainable
from rnnbench.roofline.store import Bandwidth, Rate, Roof
from rnnbench.spec import DTYPES

ROOF = Roof(
    1,
    {"float32": Rate(115, 110), "float64": Rate(57, 55)},
    (
        Bandwidth("L1", 16 << 10, 32 << 10, 206, 200),
        Bandwidth("L2", 180_000, 1 << 20, 110, 100),
        Bandwidth("L3", 6 << 20, 32 << 20, 80, 70),
        Bandwidth("memory", 64 << 20, None, 25, 20),
    ),
)


def case(cell="gru", B=1, H=256, phase="inference", T=10, **spec):
    return Case(Spec(cell, H, H, **spec), T, B, phase)


def test_every_dtype_has_its_bytes():
    assert set(NUMBER_BYTES) == set(DTYPES)


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        (case("rnn_tanh", H=8), 8 * 8 + 8),
        (case("gru", H=8, B=5), 3 * 8 * 8 + 5 * 8),
        (case("lstm", H=8, B=5), 4 * 8 * 8 + 5 * (8 + 8)),
        (case("lstm", H=8, B=5, proj_size=3), 4 * 8 * 3 + 3 * 8 + 5 * (3 + 8)),
    ],
)
def test_a_step_reads_recurrent_weights_and_state(given, numbers):
    assert step_bytes(given) == 4 * numbers
    assert read_bytes(given) == 4 * numbers * 10


def test_layers_directions_steps_and_the_backward_pass_read_anew():
    one = case("gru", H=8, dtype="float64")
    net = case("gru", H=8, dtype="float64", layers=2, directions=2, phase="training")
    assert read_bytes(one) == 10 * 8 * (3 * 64 + 8)
    assert read_bytes(net) == 2 * 2 * 2 * read_bytes(one)


def test_batch_1_is_bound_by_the_bandwidth_of_the_level_that_holds_the_weights():
    small, large = attainable(case(H=256), ROOF), attainable(case(H=512), ROOF)
    assert (small.level, small.bound) == ("L2", "reads")  # 768 KiB
    assert (large.level, large.bound) == ("L3", "reads")  # 3 MiB
    assert small.intensity == pytest.approx(1, rel=0.01)
    assert small.gflops == pytest.approx(small.intensity * 110)
    assert large.gflops == pytest.approx(large.intensity * 80)


def test_a_large_batch_is_bound_by_multiply_adds():
    found = attainable(case(B=32), ROOF)
    assert found.bound == "multiply-adds"
    assert found.gflops == 115
    assert found.intensity == pytest.approx(32, rel=0.05)


def test_training_makes_half_as_many_operations_more_for_each_byte():
    inference, training = (attainable(case(phase=p), ROOF) for p in ("inference", "training"))
    assert training.intensity == pytest.approx(1.5 * inference.intensity)


def test_weights_beyond_every_cache_come_from_memory():
    assert attainable(case("lstm", H=2048), ROOF).level == "memory"


def test_float64_has_a_peak_of_its_own_and_bfloat16_has_none():
    assert attainable(case(B=64, dtype="float64"), ROOF).gflops == 57
    assert attainable(case(dtype="bfloat16"), ROOF) is None


def test_operations_are_those_of_the_products():
    # one step of a GRU with I = H = 2: three gates, each two 2×2 products with a vector
    assert flops(Case(Spec("gru", 2, 2), 1, 1, "inference")) == 2 * 3 * (2 * 2 + 2 * 2)
    assert flops(Case(Spec("gru", 2, 2), 1, 1, "training")) == 3 * 48
