"""Training targets of Panoptic-DeepLab made where the segment ids are, without a wait for them.

The values are those of :class:`PanopticDeepLabTargetGenerator`, which the loader uses; scatters
and table look-ups make them, whatever the number of segments.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class _Segments(NamedTuple):
    """A value per segment by rising id, and one last row for pixels of no segment; (S + 1,)."""

    ids: Tensor  # int64; the last one is larger than all
    labels: Tensor  # int64, the ignored one for the last
    is_thing: Tensor  # bool
    is_crowd: Tensor  # bool; the last one counts as a crowd: it weighs nothing


def device_targets(
    ids: Tensor,
    segments_info: Sequence[Mapping[str, Any]],
    *,
    ignore_label: int,
    thing_ids: Collection[int],
    sigma: float,
    ignore_stuff_in_offset: bool,
    small_instance_area: int,
    small_instance_weight: float,
    ignore_crowd_in_semantic: bool,
) -> dict[str, Tensor]:
    """The targets of one image, on the device of ``ids``.

    Args:
        ids: (H, W) int32 segment ids.
        segments_info: per segment its ``id``, ``category_id`` (a class) and ``iscrowd``.
        ignore_label: semantic label of pixels that belong to no segment.
        thing_ids: classes that have instances.
        sigma: standard deviation of the peaks in the centre map, in pixels.
        ignore_stuff_in_offset: stuff has offset weight 0, not 1.
        small_instance_area: things with fewer pixels than this are small.
        small_instance_weight: semantic weight of the pixels of small things; 1 elsewhere.
        ignore_crowd_in_semantic: crowds have the label ``ignore_label``.

    Returns:
        ``sem_seg`` (H, W) int64, ``center`` (H, W), ``offset`` (2, H, W), ``sem_seg_weights``
        (H, W), ``center_weights`` and ``offset_weights`` (1, H, W), float32.
    """
    table = _table(segments_info, thing_ids, ignore_label, ignore_crowd_in_semantic, ids.device)
    rows = torch.searchsorted(table.ids, ids.long())
    rows = rows.where(table.ids[rows] == ids, len(table.ids) - 1)
    areas, centers_yx = _areas_and_centers(rows, len(table.ids))
    things = table.is_thing & (areas > 0)
    small = things & (areas < small_instance_area)
    weighed = ~table.is_crowd
    offset_weights = weighed & table.is_thing if ignore_stuff_in_offset else weighed
    return {
        "sem_seg": table.labels[rows],
        "center": _center_map(centers_yx, things, ids.shape, sigma),
        "offset": _offsets(rows, centers_yx, things),
        "sem_seg_weights": torch.where(small, float(small_instance_weight), 1.0)[rows],
        "center_weights": weighed.float()[rows][None],
        "offset_weights": offset_weights.float()[rows][None],
    }


def _table(
    segments_info: Sequence[Mapping[str, Any]],
    thing_ids: Collection[int],
    ignore_label: int,
    ignore_crowd: bool,
    device: torch.device,
) -> _Segments:
    rows = sorted((s["id"], s["category_id"], int(s["iscrowd"])) for s in segments_info)
    described = [
        (
            id_,
            ignore_label if crowd and ignore_crowd else class_,
            class_ in thing_ids,
            crowd,
        )
        for id_, class_, crowd in rows
    ]
    described.append((1 << 40, ignore_label, False, 1))
    # One copy to the device.
    columns = torch.tensor(described).T.contiguous().to(device, non_blocking=True)
    ids, labels, is_thing, is_crowd = columns
    return _Segments(ids, labels, is_thing.bool(), is_crowd.bool())


def _areas_and_centers(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Pixels (count,) of each segment, and their mean (y, x) indices (count, 2) float64."""
    height, width = rows.shape
    # Per row of pixels, then per column: histograms, whose sums are exact.
    y, x = _positions(rows)
    flat = rows.flatten()
    areas = torch.zeros(count, dtype=torch.int64, device=rows.device)
    sums = torch.zeros(2, count, dtype=torch.int64, device=rows.device)
    areas.index_add_(0, flat, torch.ones_like(flat))
    sums[0].index_add_(0, flat, y.expand(height, width).flatten())
    sums[1].index_add_(0, flat, x.expand(height, width).flatten())
    return areas, (sums.double() / areas).T


def _positions(rows: Tensor) -> tuple[Tensor, Tensor]:
    height, width = rows.shape
    y = torch.arange(height, device=rows.device)[:, None]
    return y, torch.arange(width, device=rows.device)


def _offsets(rows: Tensor, centers_yx: Tensor, things: Tensor) -> Tensor:
    """(2, H, W) float32 (dy, dx) from each pixel of a thing to its centre, 0 elsewhere."""
    is_thing = things[rows]
    parts = [
        torch.where(is_thing, centers_yx[:, axis][rows] - position, 0.0).float()
        for axis, position in enumerate(_positions(rows))
    ]
    return torch.stack(parts)


def _center_map(centers_yx: Tensor, things: Tensor, size: Sequence[int], sigma: float) -> Tensor:
    """(H, W) float32: at each pixel the highest of the peaks around the things' centres."""
    height, width = size
    radius = int(3 * sigma + 1)
    steps = torch.arange(-radius, radius + 1, device=things.device)
    squares = steps.double().square()
    peak = (-(squares[:, None] + squares) / (2 * sigma**2)).exp().float()
    # Rows without a thing lie at NaN or count nothing: they paint 0.
    nearest = centers_yx.nan_to_num().round().long()
    y = nearest[:, 0, None] + steps  # (S + 1, D)
    x = nearest[:, 1, None] + steps
    inside = ((y >= 0) & (y < height) & things[:, None])[:, :, None] & ((x >= 0) & (x < width))[
        :, None
    ]
    pixels = y.clamp(0, height - 1)[:, :, None] * width + x.clamp(0, width - 1)[:, None]
    heat = torch.zeros(height * width, device=things.device)
    values = peak * inside
    heat.scatter_reduce_(0, pixels.flatten(), values.flatten(), "amax")
    return heat.view(height, width)
