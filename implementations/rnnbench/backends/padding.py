"""Padded batches for libraries outside of torch, and a refusal where a derivative would be lost.

Such a library knows (T, B, ·) and a length per sequence, where torch packs rows. Padding and
packing are torch's own operators, which autograd goes through.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnnbench.bptt import torch_private
from rnnbench.bptt.stack import draw_masks
from rnnbench.errors import UnsupportedError
from rnnbench.interface import Inputs
from rnnbench.spec import Spec


class Padded(NamedTuple):
    """The sequences of one run, all T steps long.

    x        (T, B, I), zero behind a sequence's end
    masks    L−1 tensors (T, B, D·(P or H)); None where no dropout is in force
    lengths  (B,) int64, longest first; None where all are T
    """

    x: Tensor
    masks: tuple[Tensor, ...] | None
    lengths: Tensor | None

    @classmethod
    def of(cls, spec: Spec, inputs: Inputs) -> Padded:
        """Pad the inputs; masks, if dropout is in force, are drawn on the rows, as in torch."""
        masks = inputs.masks
        if masks is None and inputs.dropout > 0:
            rows = inputs.x.reshape(-1, spec.input_size)
            drawn = draw_masks(spec, rows, inputs.dropout)
            masks = tuple(mask.view(*inputs.x.shape[:-1], -1) for mask in drawn)
        if inputs.batch_sizes is None:
            return cls(inputs.x, masks, None)

        def pad(rows: Tensor) -> Any:
            return pad_packed_sequence(PackedSequence(rows, inputs.batch_sizes))

        x, lengths = pad(inputs.x)
        return cls(x, masks and tuple(pad(mask)[0] for mask in masks), lengths)

    def rows(self, y: Tensor) -> Tensor:
        """Return an output (T, B, ·) in the shape in which x came, maybe as packed rows (N, ·)."""
        if self.lengths is None:
            return y
        if not len(self.lengths):  # which torch's operator refuses
            return y[0]
        return pack_padded_sequence(y, self.lengths).data


def refuse_tangents(inputs: Inputs) -> None:
    """Raise UnsupportedError in forward-mode differentiation, which would lose its tangents."""
    if not torch_private.forward_mode_active():
        return
    for tensor in (inputs.x, *inputs.state, *inputs.weights):
        if forward_ad.unpack_dual(tensor).tangent is not None:  # type: ignore[no-untyped-call]
            raise UnsupportedError(
                "forward-mode derivatives do not reach another library; the backend 'native' has "
                "torch's own"
            )
