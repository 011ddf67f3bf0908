"""The nearest of many centres for many points, in bounded memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Distances held at once: 4 M floats are 16 MiB.
DISTANCES_AT_ONCE = 1 << 22
POINTS_AT_ONCE = 1 << 17
CELL = 16  # pixels; measured best of 8, 16, 32 at 1024x2048 with 20 to 146 centres


class _Grid(NamedTuple):
    """Which centres can be nearest to a point of each cell, cells in reading order."""

    rows: int
    columns: int
    first: Tensor  # (G,) index into `candidates`
    counts: Tensor  # (G,) at least 1
    candidates: Tensor  # indices of centres, ascending within a cell


def nearest_center(y: Tensor, x: Tensor, centers_yx: Tensor) -> Tensor:
    """(P,) int64 index of the centre nearest to each point; the first one of equally near ones.

    Exact: on the CPU a coarse grid leaves out the centres that cannot be nearest anywhere in the
    cell of a point.

    Args:
        y: (P,) float32.
        x: (P,) float32.
        centers_yx: (K, 2), K > 0, any numeric type.
    """
    centers = centers_yx.to(y.dtype)
    if y.is_cuda:
        # Finding the points of a cell would wait for the device several times.
        return _nearest_of_all(y, x, centers)
    grid = _grid(centers)
    nearest = torch.empty(len(y), dtype=torch.int64)
    for start in range(0, len(y), POINTS_AT_ONCE):
        part = slice(start, start + POINTS_AT_ONCE)
        nearest[part] = _nearest_in_grid(y[part], x[part], centers, grid)
    return nearest


def _distances(y: Tensor, x: Tensor, centers: Tensor) -> Tensor:
    # The root too: it makes equal what differs by rounding alone, and then the first one counts.
    return ((centers[..., 0] - y).square() + (centers[..., 1] - x).square()).sqrt()


def _nearest_of_all(y: Tensor, x: Tensor, centers: Tensor) -> Tensor:
    step = max(1, DISTANCES_AT_ONCE // len(centers))
    parts = [
        _distances(y_part[:, None], x_part[:, None], centers).argmin(dim=1)
        for y_part, x_part in zip(y.split(step), x.split(step), strict=True)
    ]
    return torch.cat(parts) if parts else y.new_empty(0, dtype=torch.int64)


def _grid(centers: Tensor) -> _Grid:
    """A grid from (0, 0) to the last centre, with a margin of one cell on both sides."""
    rows, columns = (int(extent) // CELL + 3 for extent in centers.amax(dim=0).tolist())
    # Bounds per axis, from a centre to the near and to the far side of a row or column of cells.
    near_y, far_y = _bounds(centers[:, 0], rows)
    near_x, far_x = _bounds(centers[:, 1], columns)
    near = (near_y[:, None] + near_x).view(-1, len(centers))
    far = (far_y[:, None] + far_x).view(-1, len(centers))
    # One pixel squared covers the rounding of coordinates and of squares.
    possible = near <= far.amin(dim=1, keepdim=True) * (1 + 1e-5) + 1
    counts = possible.sum(dim=1)
    candidates = possible.nonzero()[:, 1]
    return _Grid(rows, columns, counts.cumsum(0) - counts, counts, candidates)


def _bounds(positions: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """Squared distances (cells, K) along one axis to the near and the far side of each cell."""
    low = (torch.arange(cells, dtype=positions.dtype)[:, None] - 1) * CELL
    near = torch.maximum(low - positions, positions - (low + CELL)).clamp(min=0)
    far = torch.maximum(positions - low, low + CELL - positions)
    return near.square(), far.square()


def _nearest_in_grid(y: Tensor, x: Tensor, centers: Tensor, grid: _Grid) -> Tensor:
    row, column = (y / CELL).floor() + 1, (x / CELL).floor() + 1
    inside = (row >= 0) & (row < grid.rows) & (column >= 0) & (column < grid.columns)
    cell = torch.where(inside, row * grid.columns + column, 0).long()
    first, counts = grid.first.take(cell), grid.counts.take(cell)
    nearest = grid.candidates.take(first)
    shared = (inside & (counts > 1)).nonzero()[:, 0]
    nearest[shared] = _nearest_candidate(
        y[shared], x[shared], centers, grid.candidates, first[shared], counts[shared]
    )
    # Points beyond the grid, and those that are not finite.
    outside = (~inside).nonzero()[:, 0]
    nearest[outside] = _nearest_of_all(y[outside], x[outside], centers)
    return nearest


def _nearest_candidate(
    y: Tensor, x: Tensor, centers: Tensor, candidates: Tensor, first: Tensor, counts: Tensor
) -> Tensor:
    """The nearest of the ``counts`` candidates from ``first`` on, for each point."""
    nearest = candidates.take(first)
    shortest = _distances(y, x, centers[nearest])
    open_ = torch.arange(len(y))
    for number in range(1, int(counts.max()) if len(counts) else 0):
        open_ = open_[counts[open_] > number]
        other = candidates.take(first[open_] + number)
        distance = _distances(y[open_], x[open_], centers[other])
        closer = distance < shortest[open_]
        chosen = open_[closer]
        shortest[chosen], nearest[chosen] = distance[closer], other[closer]
    return nearest
