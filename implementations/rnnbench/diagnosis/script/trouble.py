"""Put what a script raised in the words of its network, and advise on its use of the output."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnnbench.diagnosis.guard import in_words
from rnnbench.diagnosis.script.run import Run
from rnnbench.diagnosis.script.seen import Taken
from rnnbench.diagnosis.script.source import shown

LONGEST = 200
"""Characters of a message that are shown whole."""
IMPORTS = {
    name: f"import {name}"
    for name in ("copy", "math", "random", "time", "os", "sys", "itertools", "functools", "json")
} | {
    "torch": "import torch",
    "np": "import numpy as np",
    "numpy": "import numpy",
    "nn": "import torch.nn as nn",
    "F": "import torch.nn.functional as F",
    "optim": "import torch.optim as optim",
    "Tensor": "from torch import Tensor",
    "Variable": "from torch.autograd import Variable",
    "Parameter": "from torch.nn import Parameter",
    "deque": "from collections import deque",
    "defaultdict": "from collections import defaultdict",
    "OrderedDict": "from collections import OrderedDict",
    "deepcopy": "from copy import deepcopy",
    "pack_padded_sequence": "from torch.nn.utils.rnn import pack_padded_sequence",
    "pad_packed_sequence": "from torch.nn.utils.rnn import pad_packed_sequence",
    "pad_sequence": "from torch.nn.utils.rnn import pad_sequence",
    "DataLoader": "from torch.utils.data import DataLoader",
    "TensorDataset": "from torch.utils.data import TensorDataset",
    "plt": "import matplotlib.pyplot as plt",
    "pd": "import pandas as pd",
}
"""Names that need no explanation, and the import that each is missing."""


def ended(run: Run) -> str:
    """Return how a run ended, "" where it came to its last line."""
    if run.late:
        return "it was stopped when its time was up; the answer is from its run until then"
    if run.error is None:
        return ""
    line = f": {run.source.line(run.line)}" if run.line else ""
    if isinstance(run.error, SystemExit):
        return f"it ends itself in line {run.line} with exit code {run.error.code}"
    if asserted(run):
        return f"it stops at its own comparison in line {run.line}{line}"
    return f"it stops in line {run.line}{line}" if run.line else "it stops"


def asserted(run: Run) -> bool:
    """Return whether it ended at an assertion about what it compared: an answer, no trouble."""
    last = run.watch.pairs.all()[-1:]
    return (
        isinstance(run.error, AssertionError) and bool(last) and last[0].at is not None
        and abs(last[0].at.line - run.line) <= 3
    )  # fmt: skip


def sentences(run: Run) -> list[str]:
    """Return what went wrong and what would be right; none where nothing was raised."""
    error = run.error
    if error is None or isinstance(error, SystemExit) or asserted(run):
        return []
    said = [f"line {run.line}: {first}" if run.line else first for first in [_first(run, error)]]
    if isinstance(error, SyntaxError):
        return said
    known = run.names.keys() | ({error.name} if isinstance(error, NameError) else set())
    for name, line in run.source.undefined().items():
        if name not in known and line >= run.line:
            said.append(f"line {line}: {_undefined(run, name)}")
    return said


def _first(run: Run, error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"this is no Python: {error.msg}"
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is imported, which is not installed here"
    if isinstance(error, NameError) and error.name:
        return _undefined(run, error.name)
    with torch._C.DisableTorchFunction():
        shapes = _of_call(run) or _of_product(run) or _of_graph(run, error) or _of_names(run)
    said = _short(in_words(error))
    return f"{shapes} ({said})" if shapes else f"it raised {said}"


def _short(text: str) -> str:
    """Return the first line of a message, the first sentence where it is long, without its stop."""
    line = (text.splitlines() or [""])[0]
    return (line if len(line) <= LONGEST else line.split(". ")[0]).rstrip(".")


def _undefined(run: Run, name: str) -> str:
    if name in IMPORTS:
        return f"{name} is used and never imported: `{IMPORTS[name]}` is missing"
    later = run.source.assigned.get(name)
    where = f"before it has a value (line {later} gives it one)" if later else "and defined nowhere"
    return f"{name} is used {where}"


def networks(run: Run) -> Iterator[tuple[str, nn.Module]]:
    """Return torch's networks of the script with the names that it has for them."""
    for module in run.watch.networks:
        yield name_of(run, module), module


def name_of(run: Run, module: nn.Module) -> str:
    """Return the script's name for a module, ``model.rnn`` where it is part of another."""
    for name, value in run.names.items():
        if value is module:
            return name
    for name, value in run.names.items():
        if isinstance(value, nn.Module):
            for path, inner in value.named_modules():
                if inner is module:
                    return f"{name}.{path}"
    called = next((c.at for c in run.watch.all_calls() if c.module is module and c.at), None)
    node = run.source.expression(called) if called is not None else None
    return shown(node.func) if isinstance(node, ast.Call) else f"nn.{type(module).__name__}"


def _of_call(run: Run) -> str:
    """Return what is wrong with the input or the state that a network was called with."""
    if run.watch.failed is None:
        return ""
    module, x, state = run.watch.failed
    if not isinstance(module, nn.RNNBase | nn.RNNCellBase) or not isinstance(x, Tensor):
        return ""
    operands = run.source.operands(run.at) if run.at is not None else []
    labels = [shown(o) for o in operands] if len(operands) else []
    name = name_of(run, module)
    if x.dim() and x.shape[-1] != module.input_size:
        label = labels[0] if labels else "its input"
        return f"{label} is {_shape(x)}, the input of {name} is {_input_shape(module, x)}"
    h = state[0] if isinstance(state, tuple) and state else state
    if isinstance(h, Tensor):
        label = labels[1] if len(labels) > 1 else "its state"
        return _of_state(
            module, state, h, f"the state of {name} is", label, _state_shape(module, x)
        )
    return ""


def _of_state(
    module: nn.Module, state: Any, h: Tensor, is_: str, label: str, wanted: tuple[int, ...]
) -> str:
    paired = isinstance(module, nn.LSTM | nn.LSTMCell)
    if paired and isinstance(state, Tensor):
        return f"{label} is one tensor, {is_} a pair (h_0, c_0), h_0 of {wanted}"
    if not paired and isinstance(state, tuple):
        return f"{label} is a tuple, {is_} one tensor of {wanted}"
    return f"{label} is {_shape(h)}, {is_} {wanted}" if tuple(h.shape) != wanted else ""


def _of_graph(run: Run, error: BaseException) -> str:
    """Return which variable carries a graph that was freed into the next call of a network."""
    if "backward through the graph a second time" not in str(error):
        return ""
    calls = [call for call in run.watch.all_calls() if call.state is not None]
    returned = [id(value) for call in calls[-2:] for value in call.returned]
    names = [name for name, value in run.names.items() if id(value) in returned]
    carried = [n for n in names if run.names[n] is not calls[-1].returned[0]] if calls else []
    if not carried:
        return ""
    cut = ", ".join(f"{name} = {name}.detach()" for name in carried)
    return (
        f"{' and '.join(carried)} carries the graph of one pass into the next, which the pass "
        f"before has freed: `{cut}` cuts it"
    )


def _input_shape(module: Any, x: Tensor) -> str:
    if isinstance(module, nn.RNNCellBase):
        axes = ["B"] * (x.dim() == 2)
    else:
        axes = (["B", "T"] if module.batch_first else ["T", "B"]) if x.dim() == 3 else ["T"]
    return f"({', '.join([*axes, str(module.input_size)])})"


def _state_shape(module: Any, x: Tensor) -> tuple[int, ...]:
    """Return the shape of h for an input."""
    if isinstance(module, nn.RNNCellBase):
        return (*x.shape[:-1], module.hidden_size)
    depth = module.num_layers * (2 if module.bidirectional else 1)
    size = module.proj_size or module.hidden_size
    batch = () if x.dim() == 2 else (x.shape[0 if module.batch_first else 1],)
    return (depth, *batch, size)


def _of_product(run: Run) -> str:
    """Return which factor of a product with a network's weight has a wrong shape, and the right."""
    found = wrong_factor(run)
    if found is None:
        return ""
    node, value, shape, role, name = found
    return f"{shown(node)} is {_shape(value)}, the {role} of {name} is {_tuple(shape)}"


def wrong_factor(run: Run) -> tuple[ast.AST, Tensor, tuple[int, ...], str, str] | None:
    """Return the factor that does not fit a weight: expression, value, right shape, role, network.

    The weight is recognised by its numbers, as it is or transposed.
    """
    operands = run.source.operands(run.at) if run.at is not None else []
    values = [value_of(node, run.names) for node in operands[:2]]
    if len(values) < 2 or not all(isinstance(v, Tensor) and v.dim() for v in values):
        return None
    for own, weight in ((0, 1), (1, 0)):
        for name, module in networks(run):
            for parameter, held in module.named_parameters():
                role = {"weight_hh": "state", "weight_ih": "input"}.get(parameter.split("_l")[0])
                if role is None or not _is(values[weight], held):
                    continue
                w, value = values[weight], values[own]
                needed = w.shape[0] if weight else w.shape[-1]
                has = value.shape[-1 if weight or value.dim() == 1 else 0]
                if has == needed:
                    continue
                shape = (*value.shape[:-1], needed) if weight else (needed, *value.shape[1:])
                return operands[own], value, tuple(shape), role, name
    return None


def _is(value: Tensor, weight: Tensor) -> bool:
    value = value.detach()
    return any(value.shape == w.shape and bool((value == w).all())
               for w in (weight.detach(), weight.detach().T))  # fmt: skip


def value_of(node: ast.AST, names: Mapping[str, Any]) -> Any:
    """Return the value of an expression that can be read without running anything of the script:
    names, attributes, items, transposes. None for any other.
    """
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Attribute):
        return _attribute(value_of(node.value, names), node.attr)
    if isinstance(node, ast.Subscript):
        return _item(value_of(node.value, names), value_of(node.slice, names))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.args:
        owner = value_of(node.func.value, names)
        if isinstance(owner, Tensor) and node.func.attr in ("t", "detach"):
            return getattr(owner, node.func.attr)()
    return None


def _attribute(owner: Any, name: str) -> Any:
    if isinstance(owner, Tensor):
        return getattr(owner, name) if name in ("T", "mT", "data", "grad") else None
    known = vars(owner) if hasattr(owner, "__dict__") else {}
    for kind in ("_parameters", "_modules", "_buffers"):
        known = known | known.get(kind, {})
    return known.get(name)


def _item(owner: Any, index: Any) -> Any:
    if not isinstance(owner, Tensor | list | tuple | dict) or not isinstance(index, int | str):
        return None
    try:
        return owner[index]  # type: ignore[index]
    except (IndexError, KeyError, TypeError):
        return None


def _of_names(run: Run) -> str:
    """Return the shapes of what the failing expression works on, where shapes were the trouble."""
    words = str(run.error).lower()
    if not any(word in words for word in ("size", "shape", "dimension", "broadcast", "match")):
        return ""
    operands = run.source.operands(run.at) if run.at is not None else []
    found = [(shown(n), v) for n in operands if isinstance(v := value_of(n, run.names), Tensor)]
    return ", ".join(f"{text} is {_shape(value)}" for text, value in found)


def _shape(value: Any) -> str:
    return _tuple(value.shape)


def _tuple(shape: Sequence[int]) -> str:
    return str(tuple(shape))


def no_network(run: Run) -> str:
    """Return why nothing of a script that came to its end could be compared."""
    dropped = next((call for call in run.watch.all_calls() if call.dropped), None)
    if dropped is not None:
        name = name_of(run, dropped.module)
        return (
            f"{name} has dropout={dropped.spec.dropout:g} and is in training mode, so that no two "
            f"of its answers are equal; {name}.eval() turns it off"
        )
    if run.watch.networks:
        kinds = ", ".join(dict.fromkeys(f"nn.{type(m).__name__}" for m in run.watch.networks))
        return f"it makes {kinds} and never calls it, or only in a way whose numbers cannot be read"
    own = [n for n, v in run.names.items() if isinstance(v, nn.Module) and not n.startswith("_")]
    ask = f"; to have {own[0]} compared with the oracle, name it: FILE.py:{own[0]}" if own else ""
    return (
        f"it makes no nn.RNN, nn.GRU, nn.LSTM or cell of these that its own could be held to{ask}"
    )


def advice(run: Run) -> list[str]:
    """Return what is to be said about the steps of the output that a script takes."""
    said: dict[str, None] = {}
    for taken in run.watch.taken.all():
        for sentence in _about(run, taken):
            said[sentence] = None
    return list(said)


def _about(run: Run, taken: Taken) -> Iterator[str]:
    call, index = taken.call, taken.index if isinstance(taken.index, tuple) else (taken.index,)
    module: Any = call.module
    if call.unbatched or call.lengths is not None or not _last_of(index):
        return
    line = taken.at.line if taken.at is not None else 0
    name = name_of(run, module)
    axis = 1 if isinstance(index[0], slice) else 0
    if axis != (1 if module.batch_first else 0):
        layout = "(B, T, features)" if module.batch_first else "(T, B, features)"
        yield (
            f"line {line} takes the last sequence of the batch, not the last step: {name} has "
            f"batch_first={module.batch_first}, so its output is {layout}"
        )
        return
    if call.spec.directions == 2:
        yield (
            f"line {line} takes the last step of both directions: the reverse one has seen only "
            f"one step there; its own last step is the first of time (h_n[-1], or the reverse "
            f"half of step 0)"
        )
    padded = [b for b in range(call.x.shape[1]) if not call.x[-1, b].any() and call.x[:, b].any()]
    if padded:
        yield (
            f"line {line} takes the last step of the output, and {len(padded)} of "
            f"{call.x.shape[1]} sequences end in steps of zeros (the first of them number "
            f"{padded[0]}): if these are padding, that step is not their last; take each one's "
            f"own last step, h_n of pack_padded_sequence"
        )
    elif call.x.shape[1] > 1:
        yield (
            f"line {line} takes the last step of the output: right for sequences of one length, as "
            f"here. Where shorter ones are padded, that step lies in the padding: take each one's "
            f"own last step, h_n of pack_padded_sequence"
        )


def _last_of(index: tuple[Any, ...]) -> bool:
    """Return whether an index is ``[-1]`` or ``[:, -1]``."""

    def is_last(one: Any) -> bool:
        return isinstance(one, int | np.integer) and one == -1

    if is_last(index[0]):
        return True
    whole = isinstance(index[0], slice) and index[0] == slice(None)
    return whole and len(index) > 1 and is_last(index[1])
