"""Loops of Panoptic-DeepLab's grouping, compiled by numba: what the tensor code gives, bit by bit.

Importing this module imports numba, so it is imported where it is used. Compiled code is kept on
disk; the first use ever costs some seconds.

Legend: K centres, C classes, G cells of a coarse grid over the image.
"""

from __future__ import annotations

import numpy as np
from numba import njit

CELL = 16  # pixels; as in nearest_center.py


@njit(cache=True)
def local_maxima(heatmap, threshold, radius):  # type: ignore[no-untyped-def]
    """(H, W) bool: above ``threshold``, and nothing in the window is higher or no number.

    Args:
        heatmap: (H, W) float32.
        threshold: float32.
        radius: of the window, which has 2 * radius + 1 pixels a side.
    """
    height, width = heatmap.shape
    found = np.zeros((height, width), dtype=np.bool_)
    for y in range(height):
        for x in range(width):
            value = heatmap[y, x]
            if value > threshold:
                found[y, x] = _is_maximum(heatmap, y, x, value, radius)
    return found


@njit(cache=True)
def _is_maximum(heatmap, y, x, value, radius):  # type: ignore[no-untyped-def]
    height, width = heatmap.shape
    for row in range(max(0, y - radius), min(height, y + radius + 1)):
        for column in range(max(0, x - radius), min(width, x + radius + 1)):
            if not heatmap[row, column] <= value:
                return False
    return True


@njit(cache=True)
def _bounds(positions, cells):  # type: ignore[no-untyped-def]
    """Squared distances (cells, K) along an axis to the near and the far side of each cell."""
    near = np.empty((cells, len(positions)), dtype=np.float32)
    far = np.empty((cells, len(positions)), dtype=np.float32)
    for cell in range(cells):
        low = np.float32((cell - 1) * CELL)
        high = low + np.float32(CELL)
        for k in range(len(positions)):
            outside = max(low - positions[k], positions[k] - high, np.float32(0))
            inside = max(positions[k] - low, high - positions[k])
            near[cell, k] = outside * outside
            far[cell, k] = inside * inside
    return near, far


@njit(cache=True)
def candidate_grid(centers, rows, columns):  # type: ignore[no-untyped-def]
    """Which centres (K, 2) float32 can be nearest to a point of each cell, cells in reading order.

    Returns:
        (G + 1,) where the candidates of each cell begin, and the candidates, ascending in a cell.
    """
    count = len(centers)
    near_y, far_y = _bounds(centers[:, 0], rows)
    near_x, far_x = _bounds(centers[:, 1], columns)
    first = np.zeros(rows * columns + 1, dtype=np.int64)
    candidates = np.empty(rows * columns * 4, dtype=np.int32)
    total = 0
    for row in range(rows):
        for column in range(columns):
            limit = np.float32(np.inf)
            for k in range(count):
                limit = min(limit, far_y[row, k] + far_x[column, k])
            # One pixel squared covers the rounding of coordinates and of squares.
            limit = limit * np.float32(1 + 1e-5) + np.float32(1)
            if total + count > len(candidates):
                larger = np.empty(2 * len(candidates) + count, dtype=np.int32)
                larger[:total] = candidates[:total]
                candidates = larger
            for k in range(count):
                if near_y[row, k] + near_x[column, k] <= limit:
                    candidates[total] = k
                    total += 1
            first[row * columns + column + 1] = total
    return first, candidates[:total]


@njit(cache=True)
def assign(semantic, foreground, is_thing, offsets, centers, first, candidates, columns, classes):  # type: ignore[no-untyped-def]
    """Gives each pixel of a thing its nearest centre, and counts.

    Args:
        semantic: (H, W) int64 classes.
        foreground: (H, W) bool, where things are; of no size where ``is_thing`` says so.
        is_thing: (C,) bool.
        offsets: (2, H, W) float32 (dy, dx).
        centers: (K, 2) float32, K > 0.
        first: of :func:`candidate_grid`.
        candidates: of :func:`candidate_grid`.
        columns: of the grid.
        classes: C.

    Returns:
        (H, W) int32 instances, 1 + the centre or 0; (K + 1, C) int64 pixels of each instance by
        class, row 0 those outside all instances.
    """
    height, width = semantic.shape
    rows = (len(first) - 1) // columns
    instances = np.zeros((height, width), dtype=np.int32)
    votes = np.zeros((len(centers) + 1, classes), dtype=np.int64)
    given = foreground.size > 0
    for row in range(height):
        for column in range(width):
            label = semantic[row, column]
            thing = foreground[row, column] if given else is_thing[label]
            owner = 0
            if thing:
                y = np.float32(row) + offsets[0, row, column]
                x = np.float32(column) + offsets[1, row, column]
                cell_y = np.floor(y / np.float32(CELL)) + 1
                cell_x = np.floor(x / np.float32(CELL)) + 1
                if 0 <= cell_y < rows and 0 <= cell_x < columns:
                    cell = int(cell_y) * columns + int(cell_x)
                    part = candidates[first[cell] : first[cell + 1]]
                    owner = part[_nearest(y, x, centers, part)] + 1
                else:
                    owner = _nearest_of_all(y, x, centers) + 1
                instances[row, column] = owner
            votes[owner, label] += 1
    return instances, votes


@njit(cache=True)
def _nearest(y, x, centers, candidates):  # type: ignore[no-untyped-def]
    """The position in ``candidates`` of the nearest; of equal roots of distances the first."""
    nearest, shortest = 0, np.float32(np.inf)
    for position in range(len(candidates)):
        dy = centers[candidates[position], 0] - y
        dx = centers[candidates[position], 1] - x
        distance = dy * dy + dx * dx
        # The root makes equal what differs by rounding alone; it is taken where it may matter.
        if distance < shortest and np.sqrt(distance) < np.sqrt(shortest):
            nearest, shortest = position, distance
    return nearest


@njit(cache=True)
def _nearest_of_all(y, x, centers):  # type: ignore[no-untyped-def]
    nearest, shortest = 0, np.float32(np.inf)
    for k in range(len(centers)):
        dy, dx = centers[k, 0] - y, centers[k, 1] - x
        distance = dy * dy + dx * dx
        if distance < shortest and np.sqrt(distance) < np.sqrt(shortest):
            nearest, shortest = k, distance
    return nearest


@njit(cache=True)
def paint(semantic, instances, stuff_values, thing_values):  # type: ignore[no-untyped-def]
    """(H, W) int64: of instances ``thing_values`` (K + 1,), elsewhere ``stuff_values`` (C,)."""
    height, width = semantic.shape
    panoptic = np.empty((height, width), dtype=np.int64)
    for y in range(height):
        for x in range(width):
            owner = instances[y, x]
            if owner:
                panoptic[y, x] = thing_values[owner]
            else:
                panoptic[y, x] = stuff_values[semantic[y, x]]
    return panoptic
