"""What of torch's ecosystem a module of ours goes through: `python tests/ecosystem.py` prints it.

A probe builds a module by its argument ``make``, takes it through one feature of torch and returns
tensors. It is run with torch.nn's modules and with ours on each backend, from one seed.
"""

from __future__ import annotations

import copy
import io
import pickle
import tempfile
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.testing import assert_close

import rnnbench

TABLE = Path(__file__).with_suffix(".md")
BACKENDS = ("auto", "native", "numba", "manual")
PROBES: dict[str, Callable] = {}

SAME = "same"
DIFFERS = "differs"
RUNS = "runs"

NOTES = """
*same*: shapes and numbers of torch.nn's module. *runs*: torch.nn's raises, this does not.
*error*: the call raises, with the type that is named.
*differs*: it runs, and the result is another. `quantize_dynamic` looks for torch's exact class and
leaves ours in float32; `rnnbench.swap(model, backend=None)` before it gives it that class.
"""


def probe(name):
    def add(function):
        PROBES[name] = function
        return function

    return add


def inputs(T=5):
    return torch.linspace(-1, 1, T * 3 * 6).view(T, 3, 6)


def flat(found):
    if isinstance(found, torch.Tensor):
        return [found.detach()]
    return [tensor for part in found for tensor in flat(part)]


def gradients(net, call=None):
    """Return output and gradients of one step."""
    net.zero_grad()
    y = (call or net)(inputs())[0]
    y.square().sum().backward()
    return [y, *(p.grad for p in net.parameters())]


def trained(net, optimiser):
    for _ in range(3):
        gradients(net)
        optimiser.step()
    return [*net.parameters(), net(inputs())[0]]


for _kind in ("RNN", "GRU", "LSTM"):
    probe(f"training, {_kind}")(lambda make, kind=_kind: gradients(make(kind)))
for _mode in ("real", "fake", "symbolic"):

    @probe(f"make_fx, {_mode}")
    def _(make, mode=_mode):
        net = make("GRU")
        with torch.no_grad():
            traced = make_fx(lambda x: net(x)[0], tracing_mode=mode, _allow_non_fake_inputs=True)(
                inputs() + 1
            )
            return traced(inputs())


@probe("functionalize")
def _(make):
    net = make("GRU")
    with torch.no_grad():
        return torch.func.functionalize(lambda x: net(x)[0])(inputs())


@probe("AOTAutograd")
def _(make):
    from functorch.compile import aot_module, nop

    net = make("GRU")
    return gradients(net, aot_module(net, nop))


@probe("FakeTensor")
def _(make):
    from torch._subclasses import FakeTensorMode

    net = make("GRU")
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        y = net(mode.from_tensor(inputs()))[0]
    return torch.zeros(y.shape)


@probe("device meta")
def _(make):
    return torch.zeros(make("GRU").to("meta")(inputs().to("meta"))[0].shape)


@probe("torch.func.grad")
def _(make):
    net = make("LSTM")
    weights = {name: p.detach() for name, p in net.named_parameters()}
    return grad(lambda w: functional_call(net, w, (inputs(),))[0].sum())(weights).values()


@probe("vmap")
def _(make):
    net = make("GRU")
    return vmap(lambda x: net(x)[0])(torch.stack([inputs(), inputs() + 1]))


@probe("DataParallel")
def _(make):
    net = make("GRU")
    return gradients(net, nn.DataParallel(net))


@probe("DistributedDataParallel, gloo")
def _(make):
    dist = torch.distributed
    with tempfile.TemporaryDirectory() as place:
        store = dist.FileStore(f"{place}/store", 1)
        dist.init_process_group("gloo", store=store, rank=0, world_size=1)
        try:
            net = make("GRU")
            return gradients(net, nn.parallel.DistributedDataParallel(net))
        finally:
            dist.destroy_process_group()


for _options in ({"foreach": True}, {"fused": True}):

    @probe(f"Adam, {next(iter(_options))}")
    def _(make, options=_options):
        net = make("GRU")
        return trained(net, torch.optim.Adam(net.parameters(), 0.01, **options))


@probe("swa_utils, EMA")
def _(make):
    from torch.optim import swa_utils

    net = make("GRU")
    mean = swa_utils.AveragedModel(net, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9))
    for _ in range(3):
        trained(net, torch.optim.SGD(net.parameters(), 0.01))
        mean.update_parameters(net)
    return mean(inputs())


for _reentrant in (False, True):

    @probe(f"utils.checkpoint, {'reentrant' if _reentrant else 'not reentrant'}")
    def _(make, reentrant=_reentrant):
        from torch.utils.checkpoint import checkpoint

        net = make("GRU")
        x = inputs().requires_grad_()
        checkpoint(net, x, use_reentrant=reentrant)[0].sum().backward()
        return [x.grad, *(p.grad for p in net.parameters())]


@probe("deepcopy")
def _(make):
    return gradients(copy.deepcopy(make("LSTM")))


@probe("pickle")
def _(make):
    return gradients(pickle.loads(pickle.dumps(make("LSTM"))))


@probe("save and load of a state_dict")
def _(make):
    file = io.BytesIO()
    torch.save(make("LSTM").state_dict(), file)
    file.seek(0)
    net = make("LSTM")
    net.load_state_dict(torch.load(file))
    return gradients(net)


@probe("parametrize")
def _(make):
    class Half(nn.Module):
        def forward(self, weight):
            return weight / 2

    net = make("GRU")
    nn.utils.parametrize.register_parametrization(net, "weight_hh_l0", Half())
    return gradients(net)


@probe("weight_norm")
def _(make):
    return gradients(parametrizations.weight_norm(make("GRU"), "weight_hh_l0"))


@probe("prune")
def _(make):
    return gradients(prune.l1_unstructured(make("GRU"), "weight_hh_l0", 0.5))


@probe("hooks, forward and backward")
def _(make):
    net, seen = make("GRU"), []
    net.register_forward_pre_hook(lambda _, args: (args[0] * 2,))
    net.register_full_backward_hook(lambda _, __, out: seen.append(out[0]))
    return [*gradients(net), *seen]


@probe("quantize_dynamic")
def _(make):
    model = nn.Sequential(make("LSTM"))
    return torch.ao.quantization.quantize_dynamic(model, {nn.LSTM})(inputs())


@probe("quantize_dynamic after rnnbench.swap(model, backend=None)")
def _(make):
    model = nn.Sequential(make("LSTM"))
    rnnbench.swap(model, backend=None)
    return torch.ao.quantization.quantize_dynamic(model, {nn.LSTM})(inputs())


class Model(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.before, self.net, self.head = nn.Linear(6, 6), net, nn.Linear(8, 2)

    def forward(self, x):
        rows = self.before(x).sin()  # of its own: torch.compile leaves a nested call uncompiled
        y, _ = self.net(rows)
        return self.head(y).cos()


@probe("fx.symbolic_trace after rnnbench.swap(model, backend=None)")
def _(make):
    model = Model(make("GRU"))
    rnnbench.swap(model, backend=None)
    return torch.fx.symbolic_trace(model)(inputs())


@probe("fx.symbolic_trace")
def _(make):
    return torch.fx.symbolic_trace(Model(make("GRU")))(inputs())


@probe("prepare_fx after rnnbench.swap(model, backend=None)")
def _(make):
    from torch.ao.quantization import get_default_qconfig_mapping, quantize_fx

    model = Model(make("LSTM")).eval()
    rnnbench.swap(model, backend=None)
    mapping = get_default_qconfig_mapping("fbgemm")
    return quantize_fx.prepare_fx(model, mapping, (inputs(),))(inputs())


@probe("jit.script")
def _(make):
    return torch.jit.script(Model(make("GRU")))(inputs())


@probe("jit.trace")
def _(make):
    return torch.jit.trace(Model(make("GRU")), inputs(7))(inputs())


@probe("torch.export")
def _(make):
    return torch.export.export(Model(make("GRU")), (inputs() + 1,)).module()(inputs())


@probe("ONNX, the older exporter")
def _(make):
    return _onnx(Model(make("GRU")), dynamo=False)


@probe("ONNX, the newer exporter")
def _(make):
    return _onnx(Model(make("GRU")), dynamo=True)


def _onnx(model, dynamo):
    import onnxruntime

    with tempfile.TemporaryDirectory() as place:
        file = f"{place}/model.onnx"
        torch.onnx.export(model.eval(), (inputs() + 1,), file, dynamo=dynamo, verbose=False)
        session = onnxruntime.InferenceSession(file)
        found = session.run(None, {session.get_inputs()[0].name: inputs().numpy()})
    return torch.from_numpy(found[0])


@probe("torch.compile, aot_eager")
def _(make):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    found = torch.compile(Model(make("GRU")), backend="aot_eager")(inputs())
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    return found


@probe("autocast, bfloat16")
def _(make):
    with torch.autocast("cpu", torch.bfloat16):
        return make("LSTM")(inputs())[0]


@probe("anomaly mode")
def _(make):
    with torch.autograd.set_detect_anomaly(True):
        return gradients(make("GRU"))


@probe("profiler")
def _(make):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]):
        return gradients(make("GRU"))


@probe("share_memory")
def _(make):
    net = make("GRU").share_memory()
    assert all(p.is_shared() for p in net.parameters())
    return gradients(net)


@probe("packed sequence")
def _(make):
    packed = pack_padded_sequence(inputs(), torch.tensor([3, 5, 2]), enforce_sorted=False)
    return pad_packed_sequence(make("LSTM")(packed)[0])[0]


@probe("inference mode")
def _(make):
    with torch.inference_mode():
        return make("LSTM")(inputs())[0].clone()


@probe("fake initial state, real input")
def _(make):
    from torch._subclasses import FakeTensorMode

    net = make("GRU")
    state = torch.zeros(1, 3, 8)
    with torch.no_grad():
        net(inputs(), state)  # which remembers a call of this shape
        return net(inputs(), FakeTensorMode().from_tensor(state))[0]


@probe("fake weights, real input")
def _(make):
    from torch._subclasses import FakeTensorMode

    net, mode = make("GRU"), FakeTensorMode()
    with torch.no_grad():
        net(inputs())
        for name, p in list(net.named_parameters()):
            setattr(net, name, nn.Parameter(mode.from_tensor(p)))
        return net(inputs())[0]


def _make(backend, kind, **options):
    theirs = getattr(nn, kind)
    return (
        theirs(6, 8, **options)
        if backend is None
        else getattr(rnnbench, kind)(6, 8, backend=backend, **options)
    )


def _named(error):
    return f"error: {type(error).__name__}"


def _result(name, backend):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return flat(PROBES[name](partial(_make, backend)))
        except Exception as error:  # noqa: BLE001 (any type is an answer of the table)
            return error


@cache
def expected(name):
    return _result(name, None)


def outcome(name, backend):
    """Return "same", "differs" or the type of the error, by one probe on a backend."""
    found, right = _result(name, backend), expected(name)
    if isinstance(found, Exception):
        return _named(found)
    if isinstance(right, Exception):
        return RUNS
    rtol, atol = (2e-2, 2e-2) if found[0].dtype == torch.bfloat16 else (1e-4, 1e-5)
    try:
        assert_close(found, right, rtol=rtol, atol=atol)
    except AssertionError:
        return DIFFERS
    return SAME


def row(cells):
    return f"| {' | '.join(cells)} |"


def torchs(name):
    right = expected(name)
    return _named(right) if isinstance(right, Exception) else RUNS


def table():
    head = ("feature", "torch.nn", *BACKENDS)
    lines = [row(head), row("---" for _ in head)]
    lines += [
        row((name, torchs(name), *(outcome(name, backend) for backend in BACKENDS)))
        for name in PROBES
    ]
    title = "# torch's ecosystem: feature by backend\n\nWritten by `python tests/ecosystem.py`.\n"
    return f"{title}{NOTES}\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    TABLE.write_text(table())
