"""What is particular to the compile backend; parity over all options is tested for all backends."""

import os
import threading

import pytest
import torch
from support import COMPILED_HIDDEN

from rnnbench import interface
from rnnbench.backends.compiled import chunks
from rnnbench.backends.compiled.backend import Compiled
from rnnbench.backends.compiled.blocks import Blocks
from rnnbench.backends.compiled.chunks import chunk_of
from rnnbench.backends.compiled.steps import STEPS
from rnnbench.bptt.recurrence import Layout
from rnnbench.interface import Conditions, Inputs
from rnnbench.spec import Spec

# the hidden size at which other tests of this backend run, so that they share graphs
GRU = Spec("gru", 3, COMPILED_HIDDEN, dtype="float64")
LSTM = Spec("lstm", 3, COMPILED_HIDDEN, directions=2, dtype="float64")

has_compiler = Compiled().supports(GRU, Conditions()) is None
needs_compiler = pytest.mark.skipif(not has_compiler, reason="no C++ compiler")


def make_inputs(spec, T, B, *, lengths=None, training=False):
    """Arguments of `interface.run`; with lengths, x is packed rows.

    Weights are small enough that rounding does not grow along the sequence.
    """

    def draw(*shape, scale=1.0):
        drawn = scale * torch.randn(shape, dtype=getattr(torch, spec.dtype))
        return drawn.requires_grad_(training)

    batch_sizes = None
    if lengths is not None:
        batch_sizes = torch.tensor([sum(n > t for n in lengths) for t in range(max(lengths))])
        T, B = int(batch_sizes.sum()), len(lengths)
    x = draw(T, spec.input_size) if lengths else draw(T, B, spec.input_size)
    state = tuple(draw(*shape) for shape in spec.state_shapes(B).values())
    weights = tuple(draw(*p.shape, scale=spec.hidden_size**-0.5) for p in spec.parameters)
    return Inputs(x, state, weights, batch_sizes)


def results(backend, spec, inputs):
    """Output, final state and, if x asks for it, every gradient."""
    y, final = interface.run(
        backend, spec, inputs.x, inputs.state, inputs.weights, batch_sizes=inputs.batch_sizes
    )
    tensors = (inputs.x, *inputs.state, *inputs.weights)
    if not y.requires_grad:
        return [y, *final]
    upstream = [torch.linspace(-1, 1, o.numel(), dtype=o.dtype).view(o.shape) for o in (y, *final)]
    return [y, *final, *torch.autograd.grad((y, *final), tensors, upstream)]


def assert_as_manual(spec, inputs):
    for got, want in zip(
        results("compile", spec, inputs), results("manual", spec, inputs), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


@needs_compiler
@pytest.mark.parametrize("spec", [GRU, LSTM], ids=lambda spec: spec.cell)
@pytest.mark.parametrize("training", [False, True])
def test_one_graph_for_every_length_and_batch(spec, training):
    before = set(chunks._chunks)
    for T in (1, 7, 8, 9, 17, 40):
        for B in (0, 1, 3, 5):
            assert_as_manual(spec, make_inputs(spec, T, B, training=training))
    assert len(set(chunks._chunks) - before) <= 2
    identity = Compiled().identity(spec, make_inputs(spec, 9, 3, training=training))
    assert identity["graphs"] == (2 if training else 1)
    assert identity["recompilations"] == identity["graph_breaks"] == 0


@needs_compiler
@pytest.mark.parametrize("spec", [GRU, LSTM], ids=lambda spec: spec.cell)
@pytest.mark.parametrize("lengths", [(9, 9, 8, 4, 1), (17, 16, 3), (24,), (5, 5)], ids=str)
def test_packed_sequences_run_through_the_same_graphs(spec, lengths):
    results("compile", spec, make_inputs(spec, 9, 2, training=True))
    before = dict(chunks._chunks)
    assert_as_manual(spec, make_inputs(spec, 0, 0, lengths=lengths, training=True))
    assert chunks._chunks == before


@needs_compiler
def test_graph_depends_neither_on_length_nor_on_what_was_compiled_before():
    records = []
    for hidden, T in ((5, 16), (COMPILED_HIDDEN, 16), (5, 1024)):
        chunks._chunks.pop(chunks.ChunkKey("inference", "rnn_tanh", 5, 0, "float32"), None)
        spec = Spec("rnn_tanh", 3, hidden)
        inputs = make_inputs(spec, T, 2)
        Compiled().run(spec, inputs)
        records.append(Compiled().identity(spec, inputs))
    assert len({record["graph_nodes"] for record in records}) == 1
    assert records[0]["graph_nodes"] > STEPS
    assert all(record["compile_seconds"] > 0 for record in records)


@needs_compiler
def test_second_call_does_not_compile(monkeypatch):
    inputs = make_inputs(GRU, 11, 2, training=True)
    results("compile", GRU, inputs)
    monkeypatch.setattr(chunks, "_compile", lambda key: pytest.fail(f"compiled {key} again"))
    results("compile", GRU, inputs)
    other = Spec("gru", 3, 31)
    with pytest.raises(pytest.fail.Exception, match="hidden_size=31"):
        results("compile", other, make_inputs(other, 2, 2))


@needs_compiler
def test_inference_tensors_threads_and_thread_counts_share_a_graph(monkeypatch):
    chunk_of(GRU, "inference")
    monkeypatch.setattr(chunks, "_compile", lambda key: pytest.fail(f"compiled {key} again"))
    with torch.inference_mode():
        inference = make_inputs(GRU, 9, 2)
        assert_as_manual(GRU, inference)
    assert_as_manual(GRU, make_inputs(GRU, 9, 2))
    seen = []
    thread = threading.Thread(target=lambda: seen.append(results("compile", GRU, inference)))
    thread.start()
    thread.join()
    assert len(seen) == 1
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert_as_manual(GRU, make_inputs(GRU, 9, 2))
    finally:
        torch.set_num_threads(threads)


@needs_compiler
def test_compiles_in_a_forked_child():
    spec = Spec("rnn_relu", 3, 5, dtype="float64")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert_as_manual(spec, make_inputs(spec, 9, 2))
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("sizes", [[3] * 17, [3] * 16, [5, 4, 4, 2, 2, 2, 1, 1, 1]], ids=str)
def test_blocks_place_every_row_once_and_begin_with_first_steps(sizes, reverse):
    layout = Layout(sizes)
    blocks = Blocks(layout, reverse=reverse)
    rows = torch.arange(1.0, layout.N + 1).view(-1, 1)
    placed = blocks.enter(rows)
    pieces = [placed[b.rows].view(STEPS, b.batch, 1) for b in blocks]
    assert torch.equal(blocks.leave(pieces), rows)
    assert placed[blocks.padding].sum() == 0
    lengths = [sum(b > j for b in sizes) for j in range(layout.B)]
    starts = [sum(sizes[:t]) for t in range(layout.T)]
    first, last = ([starts[n - 1] + j for j, n in enumerate(lengths)], list(range(layout.B)))
    if not reverse:
        first, last = last, first
    assert torch.equal(placed[: layout.B], rows[first])
    assert torch.equal(placed[blocks.last], rows[last])


def test_refuses_in_a_sentence_where_it_cannot_compile(monkeypatch):
    assert "'cuda'" in Compiled().supports(GRU, Conditions(device="cuda"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    reason = Compiled().supports(GRU, Conditions())
    assert "C++ compiler" in reason
    assert "no-such-compiler" in reason
