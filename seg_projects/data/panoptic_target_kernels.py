"""Loops of Panoptic-DeepLab's targets, compiled by numba: the values of the array code, bit by bit.

Importing this module imports numba, so it is imported where it is used. Compiled code is kept on
disk; the first use ever costs some seconds.

Legend: S segments; row S of every table is that of pixels of no segment.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def _row_of(id_, known, rows, none):  # type: ignore[no-untyped-def]
    """The row of an id among ``known`` (S,), ascending; ``none`` where it is not there."""
    place = np.searchsorted(known, id_)
    if place < len(known) and known[place] == id_:
        return rows[place]
    return none


@njit(cache=True)
def _end_of_run(values, start):  # type: ignore[no-untyped-def]
    """The first place behind ``start`` where another value stands, or the length of ``values``."""
    end = start + 1
    while end < len(values) and values[end] == values[start]:
        end += 1
    return end


@njit(cache=True)
def areas_and_sums(ids, known, rows, none):  # type: ignore[no-untyped-def]
    """(S + 1, 3) int64: pixels of each segment, sum of their y, sum of their x.

    Args:
        ids: (H, W) integers.
        known: (S,) ids of the segments, ascending.
        rows: (S,) their rows.
        none: S, the row of other pixels.
    """
    sums = np.zeros((none + 1, 3), dtype=np.int64)
    for y in range(ids.shape[0]):
        start = 0
        while start < ids.shape[1]:
            end = _end_of_run(ids[y], start)
            row = _row_of(ids[y, start], known, rows, none)
            sums[row, 0] += end - start
            sums[row, 1] += y * (end - start)
            sums[row, 2] += (start + end - 1) * (end - start) // 2
            start = end
    return sums


@njit(cache=True)
def paint(ids, known, rows, labels, weights, centers_yx, sem_seg, maps, offset):  # type: ignore[no-untyped-def]
    """Writes the targets of each pixel.

    Args:
        ids: (H, W) integers.
        known: (S,) ids of the segments, ascending.
        rows: (S,) their rows.
        labels: (S + 1,) int64.
        weights: (S + 1, 3) float32: semantic, centre, offset.
        centers_yx: (S + 1, 2) float64, NaN unless it is a thing.
        sem_seg: (H, W) int64, is written.
        maps: (3, H, W) float32, the weights, are written.
        offset: (2, H, W) float32, (dy, dx), is written.
    """
    none = len(labels) - 1
    for y in range(ids.shape[0]):
        start = 0
        while start < ids.shape[1]:
            end = _end_of_run(ids[y], start)
            row = _row_of(ids[y, start], known, rows, none)
            sem_seg[y, start:end] = labels[row]
            for kind in range(3):
                maps[kind, y, start:end] = weights[row, kind]
            if np.isnan(centers_yx[row, 0]):
                offset[:, y, start:end] = 0
            else:
                offset[0, y, start:end] = centers_yx[row, 0] - y
                for x in range(start, end):
                    offset[1, y, x] = centers_yx[row, 1] - x
            start = end
