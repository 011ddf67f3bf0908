"""Weights that follow from a model's parameter names, so that recordings need not hold them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import nn

Gains = Iterable[tuple[str, float]]


def value(name: str, shape: Sequence[int], seed: int = 0, gains: Gains = ()) -> np.ndarray:
    """The float32 entry ``name`` of a state dict.

    Args:
        name: full name; with ``seed`` it determines the numbers.
        shape: of the entry.
        seed: of the whole model.
        gains: (part of a name, factor) pairs; all that match multiply weights and biases, but no
            running statistics.
    """
    # The recordings were made with numpy's legacy generator.
    stream = np.random.RandomState(zlib.crc32(f"{seed}:{name}".encode()))
    if name.endswith("running_mean"):
        return np.asarray(0.1 * stream.standard_normal(shape), dtype=np.float32)
    if name.endswith("running_var"):
        return np.asarray(stream.uniform(0.5, 1.5, shape), dtype=np.float32)
    if len(shape) > 1:
        entry = stream.standard_normal(shape) * math.sqrt(2.0 / math.prod(shape[1:]))
    elif name.endswith("weight"):
        entry = stream.uniform(0.8, 1.2, shape)
    else:
        entry = 0.1 * stream.standard_normal(shape)
    for part, factor in gains:
        if part in name:
            entry = entry * factor
    return np.asarray(entry, dtype=np.float32)


@torch.no_grad()
def fill(model: nn.Module, seed: int = 0, gains: Gains = ()) -> nn.Module:
    """Overwrites all parameters and persistent buffers, save the counters of batches."""
    for name, entry in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            entry.copy_(torch.from_numpy(value(name, tuple(entry.shape), seed, gains)))
    return model
