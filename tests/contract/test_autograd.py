"""Gradients as a program sees them: partial losses, accumulation, in-place changes, threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
import torch
from contract.modules import CELL, assert_same, make, tensors
from support import sizes, skip_unless_supported, skip_what_jax_compiles
from torch.autograd import forward_ad
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import pack_sequence

import rnnbench
from rnnbench.errors import UnsupportedError
from rnnbench.spec import Spec

X = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0))


def skip_what_compile_builds(backend, shown, reason):
    """Skip on compile, which builds three graphs for each cell and dtype, what others show."""
    if backend == "compile" and shown and os.environ.get("RNNBENCH_PROFILE") != "full":
        pytest.skip(f"compile: more graphs to build; {reason}, RNNBENCH_PROFILE=full runs it")


def test_loss_on_one_result_alone(pair, kind):
    modules = pair(3, 4, num_layers=2, bidirectional=True)
    for index in range(3 if kind == "LSTM" else 2):
        got, expected = [], []
        for module, found in zip(modules, (expected, got), strict=True):
            x = X.clone().requires_grad_()
            module.zero_grad()
            tensors(module(x))[index].pow(2).sum().backward()
            found += [x.grad, *(p.grad for p in module.parameters())]
        assert_same(got, expected, factor=10)


def test_gradients_accumulate_over_several_backward_calls(pair):
    _, ours = pair(3, 4)
    y, _ = ours(X)
    y.sum().backward(retain_graph=True)
    once = [p.grad.clone() for p in ours.parameters()]
    y.sum().backward()
    for p, g in zip(ours.parameters(), once, strict=True):
        torch.testing.assert_close(p.grad, 2 * g)


def test_second_backward_without_retain_graph_is_refused(pair):
    _, ours = pair(3, 4)
    loss = ours(X)[0].sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_no_graph_is_kept_without_gradients(pair, mode):
    theirs, ours = pair(3, 4, num_layers=2)
    with mode():
        got = ours(X)
        assert_same(got, theirs(X))
    assert not any(t.requires_grad or t.grad_fn for t in tensors(got))


def test_nothing_is_saved_without_gradients_and_something_with(pair, backend):
    """Counted where autograd stores tensors; native saves inside torch and is left to torch."""
    _, ours = pair(3, 4, num_layers=2)
    saved = []
    hooks = torch.autograd.graph.saved_tensors_hooks(
        lambda t: saved.append(t.numel()) or t, lambda t: t
    )
    x = torch.randn(64, 4, 3)
    with hooks, torch.no_grad():
        ours(x)
    assert saved == []
    with hooks:
        ours(x)
    assert sum(saved) > 0


def test_weight_changed_in_place_before_backward_is_detected(pair):
    _, ours = pair(3, 4)
    y, _ = ours(X)
    with torch.no_grad():
        ours.weight_hh_l0.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_output_changed_in_place_gives_the_right_gradient_or_an_error(pair):
    """Never a wrong gradient: what is kept for the backward pass is not what the user writes on."""
    theirs, ours = pair(3, 4)
    expected = torch.autograd.grad((theirs(X)[0] * 2).sum(), list(theirs.parameters()))
    y, _ = ours(X)
    doubled = y * 2
    try:
        y.mul_(0)
        got = torch.autograd.grad(doubled.sum(), list(ours.parameters()))
    except RuntimeError as error:
        assert "inplace" in str(error)  # noqa: PT017 (either outcome is right)
    else:
        assert_same(got, expected, factor=10)


def test_weights_changed_between_calls_are_seen(pair):
    theirs, ours = pair(3, 4)
    optimisers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (theirs, ours)]
    for _ in range(3):
        for module, optimiser in zip((theirs, ours), optimisers, strict=True):
            optimiser.zero_grad()
            module(X)[0].pow(2).sum().backward()
            optimiser.step()
    assert_same(list(ours.parameters()), list(theirs.parameters()), factor=10)
    with torch.no_grad():
        for module in (theirs, ours):
            module.weight_hh_l0.mul_(-1)
        assert_same(ours(X), theirs(X))


def test_part_of_the_weights_frozen(pair):
    theirs, ours = pair(3, 4, num_layers=2)
    for module in (theirs, ours):
        module.weight_ih_l0.requires_grad_(False)
        module.bias_hh_l1.requires_grad_(False)
        module(X)[0].sum().backward()
    assert ours.weight_ih_l0.grad is None
    assert_same(ours.weight_hh_l0.grad, theirs.weight_hh_l0.grad, factor=10)


def test_second_derivatives_where_torch_has_them(pair, backend):
    skip_what_jax_compiles(backend, "gradgradcheck shows them")
    results = []
    for module in pair(3, 4, num_layers=2, bidirectional=True, dtype=torch.float64):
        x = X.double().requires_grad_()
        (g,) = torch.autograd.grad(module(x)[0].pow(2).sum(), x, create_graph=True)
        sources = [x, *module.parameters()]
        results.append(torch.autograd.grad(g.pow(2).sum(), sources, allow_unused=True))
    for a, b in zip(*results, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b)


def test_first_gradients_stay_the_backends_own_with_create_graph(pair):
    _, ours = pair(3, 4, num_layers=2)
    sources = list(ours.parameters())
    plain = torch.autograd.grad(ours(X)[0].pow(2).sum(), sources)
    kept = torch.autograd.grad(ours(X)[0].pow(2).sum(), sources, create_graph=True)
    if ours.backend == "native":  # oneDNN takes another path when the graph is kept
        assert_same(kept, plain, factor=10)
    else:
        assert all(map(torch.equal, plain, kept))


def test_forward_mode_is_refused_or_right_and_never_lost(pair, backend):
    _, ours = pair(3, 4)
    ours.requires_grad_(False)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(X, torch.ones_like(X))
        if backend == "native" and ours.mode != "LSTM":
            assert forward_ad.unpack_dual(ours(dual)[0]).tangent is not None
        else:
            with pytest.raises(NotImplementedError):
                ours(dual)


def test_gradgradcheck(pair):
    _, module = pair(3, 4, num_layers=2, dtype=torch.float64)
    x = torch.randn(3, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: tuple(tensors(module(x))), (x,), fast_mode=True)


def test_third_derivatives(pair, backend):
    skip_what_jax_compiles(backend, "a scan differentiated three times")
    found = []
    for module in pair(3, 4, dtype=torch.float64):
        x = X.double().requires_grad_()
        g = module(x)[0].pow(2).sum()
        for _ in range(2):
            (g,) = torch.autograd.grad(g.pow(2).sum(), x, create_graph=True)
        found.append(torch.autograd.grad(g.sum(), x)[0])
    torch.testing.assert_close(*found)


def test_gradcheck(pair):
    _, module = pair(3, 4, num_layers=2, bidirectional=True, dtype=torch.float64)
    x = torch.randn(3, 2, 3, dtype=torch.float64, requires_grad=True)
    names = [n for n, _ in module.named_parameters()]

    def function(x, *weights):
        result = torch.func.functional_call(module, dict(zip(names, weights, strict=True)), (x,))
        return tuple(tensors(result))

    assert torch.autograd.gradcheck(function, (x, *module.parameters()), fast_mode=True)


def test_functional_call(pair):
    theirs, ours = pair(3, 4)
    other = {n: torch.randn_like(p) for n, p in theirs.named_parameters()}
    got = torch.func.functional_call(ours, other, (X,))
    assert_same(got, torch.func.functional_call(theirs, other, (X,)), factor=4)
    assert_same(ours(X), theirs(X))


def test_weight_norm(pair):
    results = []
    for module in pair(3, 4):
        parametrizations.weight_norm(module, "weight_hh_l0")
        y, _ = module(X)
        results.append((y, torch.autograd.grad(y.sum(), list(module.parameters()))))
    assert_same(results[1][0], results[0][0])
    assert_same(results[1][1], results[0][1], factor=10)


def test_anomaly_mode_names_no_error_for_a_clean_pass(pair):
    _, ours = pair(3, 4)
    with torch.autograd.detect_anomaly(check_nan=True):
        ours(X)[0].sum().backward()


def test_forward_hooks_run(pair):
    _, ours = pair(3, 4)
    seen = []
    ours.register_forward_hook(lambda module, args, result: seen.append(tensors(result)[0].shape))
    ours(X)
    assert seen == [(5, 2, ours.hidden_size)]


def test_two_threads_with_two_modules_at_once(backend, kind):
    skip_unless_supported(backend, Spec(CELL[kind], 3, 4))

    def work(seed, found):
        torch.manual_seed(seed)
        module = make(rnnbench, kind, 3, sizes(backend, 4)[0], 2, backend=backend)
        for _ in range(5):
            module.zero_grad()
            module(X)[0].sum().backward()
            found[seed].append(module.weight_hh_l0.grad.clone())

    found = {0: [], 1: []}
    threads = [threading.Thread(target=work, args=(seed, found)) for seed in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for gradients in found.values():
        assert len(gradients) == 5
        for gradient in gradients[1:]:
            assert torch.equal(gradient, gradients[0])


IN_A_WORKER = """
import sys, torch, rnnbench
X = torch.randn(5, 2, 3)

class Dataset(torch.utils.data.Dataset):
    def __init__(self, module):
        self.module = module

    def __len__(self):
        return 2

    def __getitem__(self, index):
        with torch.no_grad():
            return self.module(X + index)[0]

for kind in sys.argv[3:]:
    ours = getattr(rnnbench, kind)(3, int(sys.argv[2]), backend=sys.argv[1])
    theirs = getattr(torch.nn, kind)(3, int(sys.argv[2]))
    theirs.load_state_dict(ours.state_dict())
    loader = torch.utils.data.DataLoader(Dataset(ours), num_workers=1, batch_size=None)
    for index, y in enumerate(loader):
        torch.testing.assert_close(y, theirs(X + index)[0])
        print(kind, index)
"""


def test_in_a_data_loader_worker(backend):
    """In a process that has not started JAX's threads, beside which a fork may hang."""
    if backend == "jax":
        pytest.skip("JAX does not survive a fork; test_jax shows that it says so")
    # each of the workers would import the compiler for seconds
    kinds = ("GRU",) if backend == "compile" else ("RNN", "GRU", "LSTM")
    done = subprocess.run(
        [sys.executable, "-c", IN_A_WORKER, backend, str(sizes(backend, 4)[0]), *kinds],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{kind} {index}" for kind in kinds for index in (0, 1)]


def test_shared_memory(pair):
    _, ours = pair(3, 4)
    assert ours.share_memory().weight_ih_l0.is_shared()
    ours(X)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_as_torch(pair, backend, kind, dtype):
    skip_what_compile_builds(backend, kind != "GRU", "the GRU shows it")
    skip_what_jax_compiles(backend, "the contract's table shows it")
    theirs, ours = pair(3, 4, num_layers=2, bidirectional=True, dtype=dtype)
    x = X.to(dtype)
    assert_same(ours(x), theirs(x))
    results = []
    for module in (ours, theirs):
        module(x)[0].sum().backward()
        results.append([p.grad for p in module.parameters()])
    assert_same(*results, factor=2)


def under_autocast(module, x, dtype):
    """What it returns; None where torch has no such kernel on this processor."""
    try:
        with torch.autocast("cpu", dtype=dtype):
            return tensors(module(x))
    except RuntimeError as error:
        assert "primitive descriptor" in str(error)  # noqa: PT017 (oneDNN's only answer to that)
        return None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("packed", [False, True, "equal"], ids=["dense", "packed", "equal"])
@pytest.mark.parametrize("options", [{}, {"proj_size": 2}, {"num_layers": 2}], ids=str)
def test_autocast_on_the_cpu_returns_torchs_dtypes(pair, backend, kind, dtype, packed, options):
    """Where torch itself cannot, native says so and others compute what torch would."""
    if "proj_size" in options and kind != "LSTM":
        pytest.skip("torch projects the LSTM only")
    shown = kind in ("RNN", "RELU") or "proj_size" in options
    skip_what_compile_builds(backend, shown, "GRU and LSTM show it")
    theirs, ours = pair(3, 4, **options)
    x = pack_sequence([X[:, 0], X[: 5 if packed == "equal" else 3, 1]]) if packed else X
    with torch.no_grad():
        expected = under_autocast(theirs, x, dtype)
        if expected is None and backend == "native":
            with (
                torch.autocast("cpu", dtype=dtype),
                pytest.raises(UnsupportedError, match="on this processor torch has no dense lstm"),
            ):
                ours(x)
            return
        got = under_autocast(ours, x, dtype)
        if expected is None:
            expected = [t.to(dtype) for t in tensors(theirs(x))]
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a.float(), b.float(), rtol=0, atol=8 * torch.finfo(dtype).eps)
    if backend != "native" or under_autocast(theirs, x, dtype) is not None:
        under_autocast(ours, x, dtype)[0].float().sum().backward()
        assert ours.weight_hh_l0.grad.dtype == torch.float32


def test_float64_module_stays_float64_under_autocast(pair):
    theirs, ours = pair(3, 4, dtype=torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert_same(ours(X.double()), theirs(X.double()))


def test_conversion_to_another_dtype(pair):
    theirs, ours = pair(3, 4)
    assert_same(ours.double()(X.double()), theirs.double()(X.double()))


@pytest.mark.parametrize("change", ["detach_", "zero_", "mul_"])
@pytest.mark.parametrize("which", ["output", "state"])
@pytest.mark.parametrize("graph", [True, False], ids=["graph", "no_grad"])
def test_results_may_be_changed_in_place_where_torchs_may(pair, change, which, graph):
    """`h.detach_()` between chunks is how many truncate BPTT."""
    outcomes = []
    for module in pair(3, 4, dtype=torch.float64):
        with torch.set_grad_enabled(graph):
            result = tensors(module(X.double()))
            changed = result[0 if which == "output" else 1]
            try:
                getattr(changed, change)(*((2,) if change == "mul_" else ()))
                if graph and change != "detach_":
                    sum(part.sum() for part in result).backward()
                outcomes.append("ok")
            except RuntimeError as error:
                outcomes.append(type(error).__name__)
    theirs, ours = outcomes
    assert ours == "ok" or theirs != "ok"
