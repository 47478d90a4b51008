"""Windows are views that cover what they say; streams keep their rows in step."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from truncation.brute import assert_equal, doubled, network, parts

import rnnbench
from rnnbench import InputError
from rnnbench.truncation import StreamSampler, WindowDataset, collate, streams, windowing

examples = settings(max_examples=60, deadline=None, derandomize=True)


@pytest.mark.parametrize("module", [windowing, streams])
def test_examples_of_the_docstrings(module):
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


@examples
@given(n=st.integers(0, 30), k=st.integers(1, 12), stride=st.integers(1, 14))
def test_windows_are_every_slice_of_k_at_a_stride(n, k, stride):
    sequence = list(range(n))
    full = [sequence[s : s + k] for s in range(0, n, stride) if s + k <= n]
    assert list(rnnbench.windows(sequence, k, stride=stride, last="drop")) == full
    kept = rnnbench.windows(sequence, k, stride=stride)
    assert list(kept)[: len(full)] == full
    assert [list(kept.steps(i)) for i in range(len(kept))] == list(kept)
    if stride <= k:  # nothing is lost, and nothing is there only to repeat what was
        assert sorted({t for window in kept for t in window}) == sequence
        assert len(kept) == 0 or kept[-1][-1] == n - 1
        assert len(kept) - len(full) == (1 if n and (not full or full[-1][-1] < n - 1) else 0)


def test_overlap_is_the_stride_from_the_other_end():
    sequence = list(range(20))
    for overlap in range(5):
        by_stride = rnnbench.windows(sequence, 5, stride=5 - overlap)
        assert list(rnnbench.windows(sequence, 5, overlap=overlap)) == list(by_stride)
    assert rnnbench.windows(sequence, 5)[1:3] == [sequence[5:10], sequence[10:15]]
    assert rnnbench.windows(sequence, 5)[-1] == sequence[15:]
    with pytest.raises(IndexError):
        _ = rnnbench.windows(sequence, 5)[4]


def test_windows_copy_nothing(tmp_path):
    tensor = torch.zeros(2, 10, 3)
    rnnbench.windows(tensor, 4, axis=1)[1].fill_(1)
    assert tensor.sum(dim=(0, 2)).tolist() == [0] * 4 + [6] * 4 + [0] * 2
    array = np.zeros((10, 3))
    rnnbench.windows(array, 4, overlap=2)[1][:] = 1
    assert array.sum(1).tolist() == [0, 0, 3, 3, 3, 3, 0, 0, 0, 0]
    mapped = np.memmap(tmp_path / "x", dtype=np.float32, mode="w+", shape=(1000, 2))
    window = rnnbench.windows(mapped, 10)[99]
    assert isinstance(window, np.memmap)
    assert np.shares_memory(window, mapped)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"k": 0}, "k must be an int of at least 1; got 0"),
        ({"k": 3, "overlap": 3}, "overlap must be below k=3"),
        ({"k": 3, "overlap": -1}, "overlap must be an int of at least 0; got -1"),
        ({"k": 3, "stride": 0}, "stride must be an int of at least 1; got 0"),
        ({"k": 3, "stride": 1, "overlap": 2}, "overlap or stride must be left out; got 2 and 1"),
        ({"k": 3, "last": "pad"}, "last must be 'keep' or 'drop'; got 'pad'"),
        ({"k": 3, "axis": 1}, "axis must be a dimension of the sequence; got 1"),
        ({"k": 1, "sequence": {1: 2}}, "sequence must have a length and slices; got dict"),
        ({"k": 3, "sequence": iter([1])}, "sequence must have a length and slices; got list_iter"),
    ],
)
def test_wrong_windows_are_refused(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        rnnbench.windows(**({"sequence": [1, 2, 3]} | arguments))


def test_numbers_of_numpy_are_ints():
    k = np.int64(3)
    found = rnnbench.windows("abcdefg", k, stride=np.int32(2))
    assert list(found) == list(rnnbench.windows("abcdefg", 3, stride=2))
    assert type(found.k) is int


def batches(data, **options):
    sampler = StreamSampler(data, **options)
    return sampler, list(DataLoader(data, batch_sampler=sampler, collate_fn=collate))


lengths_of = st.lists(st.integers(0, 17), min_size=1, max_size=8)


@examples
@given(lengths=lengths_of, k=st.integers(1, 6), rows=st.integers(1, 4), shuffle=st.booleans())
def test_streams_give_every_sequence_whole_in_one_row(lengths, k, rows, shuffle):
    """Reading a row batch after batch, and cutting where it resets, gives the sequences back."""
    sequences = [torch.arange(n) + 100 * i for i, n in enumerate(lengths)]
    data = WindowDataset(sequences, k)
    sampler, found = batches(data, rows=rows, shuffle=shuffle)
    assert len(sampler) == len(found)
    read = [[] for _ in range(rows)]
    for batch in found:
        for row in range(rows):
            if batch.reset[row]:
                read[row].append([])
            if batch.lengths[row]:
                read[row][-1] += batch.data[: batch.lengths[row], row].tolist()
            assert not batch.data[batch.lengths[row] :, row].any()
    got = sorted(sequence for row in read for sequence in row)
    assert got == sorted(s.tolist() for s in sequences if len(s))
    assert sampler.dropped == 0


@examples
@given(lengths=lengths_of, k=st.integers(1, 6), rows=st.integers(1, 4))
def test_dropping_ends_when_a_row_runs_out_and_says_what_it_drops(lengths, k, rows):
    data = WindowDataset([torch.arange(n) for n in lengths], k)
    whole, everything = batches(data, rows=rows)
    sampler, found = batches(data, rows=rows, last="drop")
    assert list(sampler) == list(whole)[: len(sampler)]
    assert all(batch.lengths.min() > 0 for batch in found)
    assert sum(int((b.lengths > 0).sum()) for b in found) + sampler.dropped == len(data)
    assert len(found) == len(everything) or everything[len(found)].lengths.min() == 0


def test_shuffling_is_by_seed_and_epoch():
    data = WindowDataset([torch.arange(n) for n in (3, 4, 5, 6, 7, 8)], 2)
    sampler = StreamSampler(data, 2, shuffle=True, seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_stateful_training_on_streams_is_each_sequence_by_itself(cell, tmp_path):
    """Outputs and gradients over all batches equal those of each sequence in chunks of k, alone;
    half of the sequences are memory maps that can only be read.
    """
    k, model = 4, network(cell, 3, 4, num_layers=2)
    sequences = [doubled(n, 3) for n in (9, 3, 14, 1, 8)]
    maps = list(sequences)
    for i in (0, 2):
        np.save(tmp_path / f"{i}.npy", sequences[i].numpy())
        maps[i] = np.load(tmp_path / f"{i}.npy", mmap_mode="r")
    data = WindowDataset([(s, s) for s in maps], k)
    state = None
    for batch in batches(data, rows=2)[1]:
        x, same = batch.data
        assert torch.equal(x, same)
        for part in rnnbench.truncated_bptt(
            model, x, state, mode="chunks", k=k, lengths=batch.lengths, reset=batch.reset
        ):
            part.output.square().sum().backward()
        state = part.state
    got = [weight.grad for weight in model.parameters()]
    model.zero_grad()
    for sequence in sequences:
        for part in rnnbench.truncated_bptt(model, sequence[:, None], mode="chunks", k=k):
            part.output.square().sum().backward()
    assert_equal(got, [weight.grad for weight in model.parameters()])
    assert not any(p.requires_grad for p in parts(state))


def test_wrong_streams_are_refused():
    data = WindowDataset([torch.zeros(5)], 3)
    with pytest.raises(InputError, match="stride of k=3 to be streams; got 2"):
        StreamSampler(WindowDataset([torch.zeros(5)], 3, overlap=1), 2)
    with pytest.raises(InputError, match="rows must be an int of at least 1; got 0"):
        StreamSampler(data, 0)
    with pytest.raises(InputError, match="last must be 'keep' or 'drop'"):
        StreamSampler(data, 1, last="wrap")
    with pytest.raises(InputError, match="one or more sequences; got list"):
        WindowDataset([], 3)
    with pytest.raises(InputError, match=r"sequences\[1\] must have parts of one length; got 4, 5"):
        WindowDataset([(torch.zeros(2), torch.zeros(2)), (torch.zeros(4), torch.zeros(5))], 3)
    with pytest.raises(IndexError, match="index must be 0 to 1; got 2"):
        data[2]
