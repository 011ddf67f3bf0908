"""From scores of classes to a label map, reading the scores once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

BLOCK = 1 << 18
"""Scores that stay in the processor's cache."""


def argmax_labels(scores: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    """The class (H, W) of the highest of the scores (K, H, W) at each pixel, the first of equals.

    What ``scores.argmax(dim=0)`` gives, NaN included. On the CPU it takes a fraction of the time,
    with numba installed even less; elsewhere the device does it, without waiting.

    Args:
        scores: (K, H, W).
        dtype: of the result; None for the narrowest: uint8 up to 256 classes, int32 beyond.
    """
    classes = scores.shape[0]
    narrow = label_type(classes)
    blockwise = scores.dtype == torch.float32 and scores.is_cpu and scores.numel()
    if not blockwise:
        return scores.argmax(dim=0).to(dtype or narrow)
    labels = torch.empty(scores.shape[1:], dtype=narrow)
    flat = scores.detach().reshape(classes, -1).numpy()
    _block_argmax()(flat, labels.view(-1).numpy())
    return labels.to(dtype or narrow)


def label_type(classes: int) -> torch.dtype:
    """The type of label maps of so many classes."""
    return torch.uint8 if classes <= 256 else torch.int32


def _block_argmax() -> Callable[[np.ndarray, np.ndarray], None]:
    try:
        from seg_projects.postprocessing.label_kernels import block_argmax
    except ImportError:
        return numpy_block_argmax
    return block_argmax


def numpy_block_argmax(scores: np.ndarray, labels: np.ndarray) -> None:
    """Writes the argmax over the rows of ``scores`` (K, P) float32 to ``labels`` (P,)."""
    classes, pixels = scores.shape
    # The first of equal scores is the one with the highest rank.
    ranks = np.arange(classes - 1, -1, -1).astype(labels.dtype)[:, None]
    block = max(256, BLOCK // classes)
    for start in range(0, pixels, block):
        values = scores[:, start : start + block]
        best = values.max(axis=0)
        here = labels[start : start + block]
        if np.isnan(best).any():
            here[:] = values.argmax(axis=0)
        else:
            np.subtract(classes - 1, ((values == best) * ranks).max(axis=0), out=here)
