"""The order of a tensor's elements in memory in which convolutions are fastest."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["for_convolutions"]


def for_convolutions(x: Tensor) -> Tensor:
    """``x`` as convolutions take it best: channels-last on the CPU, as it is elsewhere.

    A graph that is being traced gets ``x`` itself.

    Args:
        x: (N, C, H, W).
    """
    if x.dim() != 4 or x.device.type != "cpu" or torch.jit.is_tracing():
        return x
    return x.contiguous(memory_format=torch.channels_last)
