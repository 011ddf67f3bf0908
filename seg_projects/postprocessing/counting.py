"""Counts and indices whose sizes the host knows: on a GPU nothing waits."""

from __future__ import annotations

import torch
from torch import Tensor


def histogram(values: Tensor, size: int) -> Tensor:
    """(size,) int64 counts of the integers 0, ..., size - 1 in ``values``, which has no others."""
    values = values.flatten().long()
    if values.is_cpu:
        return torch.bincount(values, minlength=size)
    # On a GPU bincount asks for the least and the greatest value first, and waits for them.
    return torch.histc(values, bins=size, min=0, max=size)


def true_at(mask: Tensor, count: int) -> Tensor:
    """(count, D) int64 indices of the elements of ``mask`` that are true, ``count`` in all.

    With the count 0, whatever ``mask`` holds, there are none.
    """
    if mask.is_cpu and count:
        return mask.nonzero()
    return torch.nonzero_static(mask, size=count)
