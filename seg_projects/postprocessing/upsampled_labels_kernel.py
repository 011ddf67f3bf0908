"""The loop over pixels of upsampled labels, compiled by numba; needs numba."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def fill_labels(
    scores: np.ndarray,
    coarse: np.ndarray,
    top: np.ndarray,
    bottom: np.ndarray,
    down: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    across: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Writes the class of the highest interpolated score to ``labels`` (H, W).

    ``scores`` is (h, w, K) float32, ``coarse`` (h, w) its argmax; ``top``, ``bottom``, ``down``
    (H,) and ``left``, ``right``, ``across`` (W,) are cells and shares by axis.
    """
    classes = scores.shape[2]
    above = np.empty(classes, dtype=np.float32)
    for y in range(labels.shape[0]):
        upper, lower, v = top[y], bottom[y], down[y]
        for x in range(labels.shape[1]):
            first, second, u = left[x], right[x], across[x]
            label = coarse[upper, first]
            same = (
                (label == coarse[upper, second])
                & (label == coarse[lower, first])
                & (label == coarse[lower, second])
            )
            if same:
                labels[y, x] = label
                continue
            a, b = scores[upper, first], scores[upper, second]
            c, d = scores[lower, first], scores[lower, second]
            for k in range(classes):
                high = a[k] + u * (b[k] - a[k])
                low = c[k] + u * (d[k] - c[k])
                above[k] = high + v * (low - high)
            best = 0
            for k in range(1, classes):
                best = k if above[k] > above[best] else best
            labels[y, x] = best
