"""From coarse scores of classes to a label map of any size, without the fine scores.

Legend: K classes, h x w cells of the scores, H x W pixels wanted.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from seg_projects.postprocessing.label_argmax import argmax_labels

PIXELS_AT_ONCE = 16384
SCORES_AT_ONCE = 1 << 24


class _Axis(NamedTuple):
    """Between which cells the pixels of an axis lie."""

    before: Tensor  # int64
    after: Tensor  # int64
    share: Tensor  # float32 in [0, 1], of the cell after


def upsampled_labels(
    scores: Tensor, size: tuple[int, int], *, scale: tuple[float, float] | None = None
) -> Tensor:
    """The class of the highest of bilinearly upsampled scores, up to ties of the last digit.

    A pixel between four cells of one class has that class, since weighted means keep the order: on
    the CPU scores are interpolated only where classes meet, and memory is bounded by that of the
    result and of ``scores``. Elsewhere, strips of rows are.

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
    coarse = argmax_labels(scores)
    by_cell = scores.detach().permute(1, 2, 0).contiguous()  # (h, w, K)
    try:
        from seg_projects.postprocessing.upsampled_labels_kernel import fill_labels
    except ImportError:
        return _between_classes(by_cell, coarse, rows, columns)
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


def _between_classes(by_cell: Tensor, coarse: Tensor, rows: _Axis, columns: _Axis) -> Tensor:
    """The labels, scores being interpolated for pixels whose four cells differ in class."""
    top, left = coarse[rows.before], columns.before
    labels = top[:, left]
    # Whether a cell differs from its neighbours below, to the right, or from the one between.
    padded = F.pad(coarse[None, None].float(), (0, 1, 0, 1), mode="replicate")[0, 0]
    here = padded[:-1, :-1]
    mixed = (here != padded[1:, :-1]) | (here != padded[:-1, 1:]) | (here != padded[1:, 1:])
    flat, width = by_cell.flatten(0, 1), by_cell.shape[1]
    y, x = mixed[rows.before][:, left].nonzero(as_tuple=True)
    for start in range(0, len(y), PIXELS_AT_ONCE):
        ys, xs = y[start : start + PIXELS_AT_ONCE], x[start : start + PIXELS_AT_ONCE]
        across, down = columns.share[xs, None], rows.share[ys, None]
        upper, lower = rows.before[ys] * width, rows.after[ys] * width
        first, second = columns.before[xs], columns.after[xs]
        above = torch.lerp(flat[upper + first], flat[upper + second], across)
        below = torch.lerp(flat[lower + first], flat[lower + second], across)
        labels[ys, xs] = torch.lerp(above, below, down).argmax(dim=1).to(labels.dtype)
    return labels
