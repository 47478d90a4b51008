"""Torch's undocumented names: without each, a warning says what is lost, and all else goes on."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
import warnings
from collections.abc import Iterator

import pytest
import torch
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.testing import assert_close

import rnnbench
from rnnbench import UnsupportedError
from rnnbench.bptt import torch_private
from rnnbench.diagnosis.slots import slots_of

X = torch.linspace(-1, 1, 30).view(5, 2, 3)
SENTENCES = {
    "TensorGuards": "repeated calls of rnnbench's modules are slower",
    "_are_functorch_transforms_active": "whether torch.func transforms a call is found by trying",
    "_current_level": "whether a call is differentiated in forward mode is found by trying",
    "is_batchedtensor": "a tensor that vmap maps over is known by having no memory",
    "is_legacy_batchedtensor": "batched upstream gradients are known by having no memory",
    "_remove_batch_dim": "batched upstream gradients raise UnsupportedError",
    "_add_batch_dim": "batched upstream gradients raise UnsupportedError",
    "_get_current_graph_task_keep_graph": "does not use the memory of what was saved for it",
    "_version": "'onnxruntime' builds a session for every call",
    "TorchDispatchMode": "the kernel that the backend 'native' runs is unknown",
    "_VF": "modules look at all functions that torch's forward calls",
    "eval_frame": "torch.compile looks into rnnbench's own code",
    "_len_torch_dispatch_stack": "make_fx and FakeTensorMode cannot record a module",
    "_get_dispatch_stack_at": "make_fx and FakeTensorMode cannot record a module",
}


def paths(name: str) -> list[str]:
    return [path for path in torch_private.LOST if path.endswith(f".{name}")]


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Yield a function that reads the module anew for a torch that lacks a name."""
    own = pkgutil.resolve_name

    def take_away(name: str) -> None:
        def found(path: str) -> object:
            if path in paths(name):
                raise AttributeError(path)
            return own(path)

        monkeypatch.setattr(pkgutil, "resolve_name", found)
        with pytest.warns(RuntimeWarning, match=f"lacks .*{name}: .*{SENTENCES[name]}") as said:
            importlib.reload(torch_private)
        assert len(said) == 1

    yield take_away
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.reload(torch_private)


def pair(backend: str = "numba") -> tuple[torch.nn.Module, torch.nn.Module]:
    """Return a GRU of ours and torch's with the same weights."""
    theirs, ours = torch.nn.GRU(3, 4), rnnbench.GRU(3, 4, backend=backend)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def gradient(net: torch.nn.Module, x: torch.Tensor = X, **options: bool) -> torch.Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(net(x)[0].square().sum(), x, **options)[0]


def test_every_name_has_its_sentence():
    assert sorted(SENTENCES) == sorted(path.rpartition(".")[2] for path in torch_private.LOST)


@pytest.mark.parametrize("name", SENTENCES)
def test_without_any_name_modules_compute_and_differentiate(name, without):
    theirs, ours = pair()
    without(name)
    for _ in range(3):
        assert_close(ours(X)[0], theirs(X)[0])
        assert_close(gradient(ours), gradient(theirs))
        assert_close(gradient(ours, create_graph=True), gradient(theirs))
    xs = torch.stack([X, 2 * X])
    mapped = torch.func.vmap(lambda x: ours(x)[0])
    assert_close(mapped(xs), torch.stack([theirs(x)[0] for x in xs]))
    assert_close(torch.func.grad(lambda x: ours(x)[0].square().sum())(X), gradient(theirs))
    with forward_ad.dual_level(), pytest.raises(UnsupportedError, match="forward-mode"):
        ours(forward_ad.make_dual(X, X))


def test_without_guards_no_call_is_remembered(without):
    _, ours = pair()
    without("TensorGuards")
    with torch.no_grad():
        ours(X), ours(X)
    assert not vars(ours)["_memory"].calls


@pytest.mark.parametrize("name", ["_are_functorch_transforms_active", "_current_level"])
def test_what_is_found_by_trying_is_what_torch_says(name, without):
    def states():
        found = []
        look = lambda x: (  # noqa: E731
            found.append((torch_private.transforms_active(), torch_private.forward_mode_active())),
            x,
        )[1]
        look(X)
        torch.func.vmap(look)(X)
        torch.func.grad(lambda x: look(x).sum())(X)
        torch.func.jvp(look, (X,), (X,))
        with forward_ad.dual_level():
            look(X)
        return found

    expected = states()
    assert expected[0] == (False, False)
    assert len(set(expected)) > 2
    without(name)
    assert states() == expected


def batched_gradients(net: torch.nn.Module) -> torch.Tensor:
    x = X.clone().requires_grad_()
    y = net(x)[0]
    upstream = torch.stack([torch.ones_like(y), 2 * torch.ones_like(y)])
    return torch.autograd.grad(y, x, upstream, is_grads_batched=True)[0]


def test_batched_upstream_gradients_are_known_by_having_no_memory(without):
    theirs, ours = pair()
    without("is_legacy_batchedtensor")
    assert_close(batched_gradients(ours), batched_gradients(theirs))


@pytest.mark.parametrize("name", ["_remove_batch_dim", "_add_batch_dim"])
def test_batched_upstream_gradients_are_refused(name, without):
    _, ours = pair()
    without(name)
    with pytest.raises(UnsupportedError, match=r"is_grads_batched=True.* lacks one"):
        batched_gradients(ours)


@pytest.mark.skipif("jax" not in rnnbench.backends(), reason="jax is not installed")
@pytest.mark.parametrize("name", ["is_batchedtensor", "is_legacy_batchedtensor"])
def test_jax_refuses_what_is_mapped_over(name, without):
    _, ours = pair("jax")
    without(name)
    with pytest.raises(UnsupportedError, match="do not reach into JAX"):
        batched_gradients(ours)


def test_a_graph_that_may_be_kept_gives_the_same_gradients_again(without):
    theirs, ours = pair()
    without("_get_current_graph_task_keep_graph")
    assert torch_private.keeps_graph()
    x = X.clone().requires_grad_()
    y = ours(x)[0].square().sum()
    for keep in (True, False):
        (found,) = torch.autograd.grad(y, x, retain_graph=keep)
        assert_close(found, gradient(theirs))


def test_the_count_of_changes_is_never_the_same_twice(without):
    weight = torch.zeros(3)
    assert torch_private.version(weight) == torch_private.version(weight)
    before = torch_private.version(weight)
    weight.add_(1)
    assert torch_private.version(weight) != before
    without("_version")
    assert torch_private.version(weight) != torch_private.version(weight)


PROGRAM = """
import pkgutil, sys, warnings
own = pkgutil.resolve_name
def found(path):
    if path.startswith("torch."):
        raise AttributeError(path)
    return own(path)
pkgutil.resolve_name = found
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    import rnnbench.nn
from rnnbench.bptt import torch_private
from rnnbench.diagnosis.slots import slots_of
assert sum("lacks" in str(one.message) for one in said) == len(torch_private.LOST), said
import torch
from rnnbench.interface import check_inputs
theirs = torch.nn.LSTM(3, 4, 2, bidirectional=True)
x = torch.randn(5, 2, 3, requires_grad=True)
for backend in ("auto", "numba", "manual"):
    ours = rnnbench.LSTM(3, 4, 2, bidirectional=True, backend=backend)
    ours.load_state_dict(theirs.state_dict())
    for _ in range(2):
        for net in (ours, theirs):
            net(x)[0].square().sum().backward()
        pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
        for one, other in pairs:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)
        ours.zero_grad(), theirs.zero_grad()
assert rnnbench.check("native", [rnnbench.Case(rnnbench.Spec("gru", 3, 4), 5, 2)]).passed
spec = rnnbench.Spec("gru", 3, 4)
weights = [torch.zeros(p.shape) for p in spec.parameters]
inputs = check_inputs(spec, torch.zeros(5, 2, 3), None, weights)
assert rnnbench.get_backend("native").identity(spec, inputs)["kernel"] == "unknown"
"""


def test_without_all_of_them_the_package_is_imported_and_trains():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=300)


def test_a_kernel_is_found_by_whatever_name_torchs_forward_calls_it(without):
    theirs, ours = pair()
    calls = []

    def kernel(*arguments):
        calls.append(arguments)
        return torch.gru(*arguments)

    without("_VF")
    forward = torch_private.forward_with(torch.nn.GRU, {"gru": kernel})
    assert_close(forward(theirs, X)[0], theirs(X)[0])
    assert len(calls) == 1
    assert_close(ours(X)[0], theirs(X)[0])


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning")
@pytest.mark.parametrize("name", ["_len_torch_dispatch_stack", "_get_dispatch_stack_at"])
def test_tracing_by_a_dispatch_mode_is_not_seen_and_torch_jit_is(name, without):
    without(name)
    assert not torch_private.is_traced(X)
    seen = []

    def traced(x):
        seen.append(torch_private.is_traced(X))
        return x + 1

    make_fx(traced)(X)
    torch.jit.trace(traced, X)
    assert seen[0] is False
    assert seen[1] is True


def test_members_of_a_module_are_read_by_documented_names(monkeypatch):
    def members():
        own = (torch_private.parameters, torch_private.buffers, torch_private.children)
        return [
            (name, id(one)) for read in own for m in net.modules() for name, one in read(m).items()
        ]

    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    expected = members()
    with monkeypatch.context() as patch:
        patch.setattr(torch.nn, "Module", type("Module", (), {}))
        with pytest.warns(RuntimeWarning, match="diagnose cannot set the .* of a module") as said:
            importlib.reload(torch_private)
    found = members()
    importlib.reload(torch_private)
    assert len(said) == 3
    assert found == expected


def test_a_torch_without_a_part_of_its_compiler_has_no_backend_compile(monkeypatch):
    own = pkgutil.resolve_name

    def found(path: str) -> object:
        if path.endswith("compile_fx"):
            raise ImportError(f"no {path}")
        return own(path)

    monkeypatch.setattr(pkgutil, "resolve_name", found)
    with pytest.raises(UnsupportedError, match=r"'compile' needs .* lacks: no .*compile_fx"):
        torch_private.compiler()


def test_the_list_in_which_torch_holds_weights_besides_is_no_place_of_its_own():
    net = torch.nn.GRU(3, 4)
    torch_private.flat_weights(net)[1] = torch.zeros(12, 4)
    assert [slot.path for slot in slots_of(net)] == [name for name, _ in net.named_parameters()]
    assert torch_private.flat_weights(torch.nn.Linear(3, 4)) == []
