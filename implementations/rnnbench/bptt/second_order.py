"""Derivatives of gradients, by torch.

A pass derived by hand has no derivative itself. That of its gradients is taken of the gradients
that torch's own kernels give for the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rnnbench.bptt.call import Call, Wanted
from rnnbench.errors import UnsupportedError
from rnnbench.interface import Inputs, get_backend


def _by_torch(
    call: Call, wanted: Wanted, masks: Sequence[Tensor], sources: Sequence[Tensor], *, rows: bool
) -> list[Tensor]:
    """Compute those outputs that have an upstream gradient, by torch's own kernels.

    rows: as packed rows, dense or not, which always take the step-by-step kernels; otherwise
    (T, B, I), of which a float32 LSTM goes to oneDNN
    """
    _, x, state, weights = call.split((*masks, *sources))
    if rows:
        inputs = Inputs(x, state, weights, torch.tensor(call.layout.batch_sizes))
    else:
        inputs = Inputs(x.reshape(call.layout.T, call.layout.B, -1), state, weights)
        masks = [mask.reshape(call.layout.T, call.layout.B, -1) for mask in masks]
    y, final = get_backend("native").run(call.spec, inputs._replace(masks=tuple(masks) or None))
    y = y.reshape(*call.leading, -1)
    return [o for o, there in zip((y, *final), wanted.given, strict=True) if there]


def by_graph(
    call: Call,
    wanted: Wanted,
    tensors: Sequence[Tensor],
    above: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """Differentiate the wanted gradients by masks (None), sources and upstream gradients.

    above: upstream gradients of the gradients themselves, in the order of the needed sources.
    """
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # Aliases: these derivatives are partial. x must not be reached through dy, which the
        # loss may have made from an output that was made from x.
        aliases = [tensor.view_as(tensor) for tensor in tensors[call.masks :]]
        sources, present = aliases[: len(wanted.needed)], aliases[len(wanted.needed) :]
        outputs = _by_torch(call, wanted, tensors[: call.masks], sources, rows=True)
        gradients = torch.autograd.grad(
            outputs,
            [source for source, need in zip(sources, wanted.needed, strict=True) if need],
            present,
            create_graph=True,
            allow_unused=True,
        )
        pairs = [
            (gradient, up)
            for gradient, up in zip(gradients, above, strict=True)
            if up is not None and gradient is not None
        ]
        found = iter(
            torch.autograd.grad(
                [gradient for gradient, _ in pairs],
                [alias for alias in aliases if alias.requires_grad],
                [up for _, up in pairs],
                create_graph=create_graph,
                allow_unused=True,
            )
        )
    below = [next(found) if alias.requires_grad else None for alias in aliases]
    return [*(None,) * call.masks, *below]


def by_functions(
    call: Call, wanted: Wanted, tensors: Sequence[Tensor], above: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Do as `by_graph` in terms of `torch.func`, so that it nests.

    Torch's packed kernels do not run under these transforms.
    """
    if not call.layout.dense:
        raise UnsupportedError(
            "second derivatives of packed sequences under torch.func do not exist in torch either; "
            "torch.autograd.grad with create_graph has them"
        )

    def gradients(*arguments: Tensor) -> tuple[Tensor | None, ...]:
        sources, present = arguments[: len(wanted.needed)], arguments[len(wanted.needed) :]
        masks = tensors[: call.masks]

        def outputs(*sources: Tensor) -> list[Tensor]:
            return _by_torch(call, wanted, masks, sources, rows=False)

        pull: Callable[..., tuple[Tensor, ...]] = torch.func.vjp(outputs, *sources)[1]
        found = wanted.select(pull(list(present)))
        return tuple(g for g, up in zip(found, above, strict=True) if up is not None)

    pull: Callable[..., tuple[Tensor, ...]] = torch.func.vjp(gradients, *tensors[call.masks :])[1]
    return [*(None,) * call.masks, *pull(tuple(up for up in above if up is not None))]
