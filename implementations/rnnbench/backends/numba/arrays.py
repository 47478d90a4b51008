"""Tensors as kernels take them: an address, and numbers that lie side by side."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnbench.bptt.recurrence import LayerWeights
from rnnbench.errors import InputError


def address(tensor: Tensor | None) -> int:
    """Return the address of a tensor's memory; 0 for None."""
    return 0 if tensor is None else tensor.data_ptr()


def solid(tensor: Tensor) -> Tensor:
    """Return the tensor as numbers in memory one behind the other, which is all that kernels know.

    Raises InputError for a tensor whose memory was taken away.
    """
    if tensor.is_contiguous() and not tensor.is_neg() and tensor.data_ptr():
        return tensor
    if tensor.is_neg() or tensor._is_zerotensor():
        tensor = tensor.clone(memory_format=torch.contiguous_format)
    tensor = tensor.contiguous()
    if tensor.data_ptr() == 0 and tensor.numel():
        raise InputError(f"a tensor of shape {tuple(tensor.shape)} has no memory behind it")
    return tensor


def weight_addresses(weights: LayerWeights) -> tuple[list[int], list[Tensor]]:
    """Return the addresses of W_ih, W_hh, b_ih, b_hh and W_hr, 0 for an absent one.

    And the tensors that must live as long as the addresses are used.
    """
    found, alive = [], []
    for w in weights:
        if w is None:
            found.append(0)
        else:
            alive.append(own := solid(w))
            found.append(own.data_ptr())
    return found, alive


def as_rows(tensor: Tensor) -> tuple[Tensor, int]:
    """Return the tensor with each row's numbers side by side, and the distance from row to row."""
    columns = tensor.shape[1]
    lies = tensor.stride(1) == 1 and tensor.stride(0) >= columns
    if not lies or tensor.is_neg() or tensor._is_zerotensor():
        tensor = solid(tensor)
    return tensor, tensor.stride(0) or columns


def padded(tensor: Tensor, size: int) -> Tensor:
    """Return a copy with rows of ``size`` numbers, zeros behind its own."""
    own = tensor.shape[1]
    if own == size:
        return tensor.clone(memory_format=torch.contiguous_format)
    copy = tensor.new_zeros(len(tensor), size)
    copy[:, :own] = tensor
    return copy


def cut(tensor: Any, size: int) -> Any:
    """Return the tensor without the padding of its rows; None stays None."""
    if tensor is None or tensor.shape[1] == size:
        return tensor
    return tensor[:, :size].contiguous()
