"""Loops over pixels, compiled by numba; importing this fails where numba is not installed."""

from __future__ import annotations

import numpy as np
from numba import njit

BLOCK = 2048


@njit(cache=True, nogil=True)
def block_argmax(scores: np.ndarray, labels: np.ndarray) -> None:
    """Writes the argmax over the rows of ``scores`` (K, P) float32 to ``labels`` (P,)."""
    classes, pixels = scores.shape
    best = np.empty(BLOCK, dtype=np.float32)
    found = np.empty(BLOCK, dtype=np.int32)
    for start in range(0, pixels, BLOCK):
        size = min(BLOCK, pixels - start)
        for i in range(size):
            best[i] = scores[0, start + i]
            found[i] = 0
        for label in range(1, classes):
            row = scores[label, start : start + size]
            for i in range(size):
                # NaN is above all numbers, and the first one stays.
                higher = (row[i] > best[i]) | ((row[i] != row[i]) & (best[i] == best[i]))
                best[i] = row[i] if higher else best[i]
                found[i] = label if higher else found[i]
        for i in range(size):
            labels[start + i] = found[i]


@njit(cache=True, nogil=True)
def count_pairs(truth: np.ndarray, predicted: np.ndarray, confusion: np.ndarray) -> int:
    """Adds pixels (P,) to ``confusion`` (K, K); returns how many were predicted outside [0, K).

    Pixels whose truth is outside [0, K) are left out.
    """
    classes = confusion.shape[0]
    outside = 0
    for i in range(truth.size):
        row, column = np.int64(truth[i]), np.int64(predicted[i])
        if 0 <= row < classes:
            if 0 <= column < classes:
                confusion[row, column] += 1
            else:
                outside += 1
    return outside
