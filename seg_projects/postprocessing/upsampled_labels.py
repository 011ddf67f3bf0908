"""From coarse scores of classes to a label map of any size, without the fine scores.

Legend: K classes, h x w cells of the scores, H x W pixels wanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from seg_projects.postprocessing.label_argmax import argmax_labels, label_type

SCORES_AT_ONCE = 1 << 24
SCORES_IN_CACHE = 1 << 18


class _Axis(NamedTuple):
    """Between which cells the pixels of an axis lie."""

    before: Tensor  # int64
    after: Tensor  # int64
    share: Tensor  # float32 in [0, 1], of the cell after


def upsampled_labels(
    scores: Tensor, size: tuple[int, int], *, scale: tuple[float, float] | None = None
) -> Tensor:
    """The class of the highest of bilinearly upsampled scores, up to ties of the last digit.

    Strips of rows are interpolated, as many as the processor's cache holds: memory is bounded by
    that of the result and of ``scores``. With numba, scores are interpolated only where classes
    meet: a pixel between four cells of one class has it, since weighted means keep the order.

    Args:
        scores: (K, h, w) float.
        size: H and W.
        scale: cells per pixel, by axis; None for (h / H, w / W), as ``F.interpolate`` has it.

    Returns:
        (H, W), uint8 up to 256 classes, int32 beyond.
    """
    _, height, width = scores.shape
    scale = scale or (height / size[0], width / size[1])
    rows = _axis(size[0], height, scale[0], scores.device)
    columns = _axis(size[1], width, scale[1], scores.device)
    if not scores.is_cpu or scores.dtype != torch.float32:
        return _by_strips(scores, rows, columns)
    try:
        from seg_projects.postprocessing.upsampled_labels_kernel import fill_labels
    except ImportError:
        return _between_rows(scores.detach(), rows, columns)
    coarse = argmax_labels(scores)
    by_cell = scores.detach().permute(1, 2, 0).contiguous()  # (h, w, K)
    labels = torch.empty(size, dtype=coarse.dtype)
    top, bottom, down = (part.numpy() for part in rows)
    left, right, across = (part.numpy() for part in columns)
    cells, classes = by_cell.numpy(), coarse.numpy()
    fill_labels(cells, classes, top, bottom, down, left, right, across, labels.numpy())
    return labels


def _axis(pixels: int, cells: int, scale: float, device: torch.device) -> _Axis:
    at = (torch.arange(pixels, device=device, dtype=torch.float32) + 0.5) * scale - 0.5
    at = at.clamp_(0, cells - 1)
    before = at.long()
    return _Axis(before, (before + 1).clamp_(max=cells - 1), at - before)


def _by_strips(scores: Tensor, rows: _Axis, columns: _Axis) -> Tensor:
    height, width = len(rows.share), len(columns.share)
    strip = max(1, SCORES_AT_ONCE // (scores.shape[0] * width))
    labels = []
    for start in range(0, height, strip):
        top, bottom, share = (part[start : start + strip] for part in rows)
        mixed = torch.lerp(scores[:, top], scores[:, bottom], share[:, None].to(scores.dtype))
        left, right = mixed[..., columns.before], mixed[..., columns.after]
        labels.append(argmax_labels(torch.lerp(left, right, columns.share.to(scores.dtype))))
    return torch.cat(labels)


def _between_rows(scores: Tensor, rows: _Axis, columns: _Axis) -> Tensor:
    """The labels of the pixels between two rows of cells, then of those between the next two."""
    width = len(columns.share)
    labels = torch.empty((len(rows.share), width), dtype=label_type(scores.shape[0]))
    strip = max(1, SCORES_IN_CACHE // (scores.shape[0] * width))
    above = below = scores[:, 0, :0]
    last = -1
    for start, stop in _runs(rows.before):
        first, second = int(rows.before[start]), int(rows.after[start])
        # (K, W) each; what was below is often above now.
        above = below if first == last else _across(scores[:, first], columns)
        below = above if first == second else _across(scores[:, second], columns)
        last = second
        for at in range(start, stop, strip):
            share = rows.share[at : min(at + strip, stop), None]
            mixed = torch.lerp(above[:, None], below[:, None], share)  # (K, strip, W)
            labels[at : at + len(share)] = argmax_labels(mixed)
    return labels


def _runs(values: Tensor) -> Iterator[tuple[int, int]]:
    """Where equal values begin and end."""
    start = 0
    for count in values.unique_consecutive(return_counts=True)[1].tolist():
        yield start, start + count
        start += count


def _across(row: Tensor, columns: _Axis) -> Tensor:
    """(K, w) to (K, W)."""
    return torch.lerp(
        row.index_select(1, columns.before), row.index_select(1, columns.after), columns.share
    )
