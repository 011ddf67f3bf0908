"""From semantic labels, centres and offsets to a panoptic map (arXiv:1911.10194, section 3.2)."""

from __future__ import annotations

from collections.abc import Collection
from importlib.util import find_spec
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .counting import histogram, true_at
from .nearest_center import nearest_center

# Pixels; smaller maps take less time than the compiled code takes to load.
KERNELS_FROM = 1 << 19


class PanopticGrouping(NamedTuple):
    """The panoptic map of one image and the centres that its instances were grouped by."""

    panoptic: Tensor  # (H, W) int64: class * label_divisor + number of the instance; void
    centers_yx: Tensor  # (K, 2) int64 pixel indices


def find_instance_centers(
    heatmap: Tensor, *, threshold: float = 0.1, nms_kernel: int = 3, top_k: int | None = None
) -> Tensor:
    """(K, 2) int64 (y, x) of the local maxima above ``threshold`` and 0, in reading order.

    Args:
        heatmap: (H, W) float; it has no fixed range.
        threshold: values up to this one are no centre.
        nms_kernel: side of the window in which a centre is the maximum, in pixels, odd.
        top_k: leaves the centres that are higher than the ``top_k``-th highest one, at most
            ``top_k - 1``, as Detectron2 does.
    """
    return _center_mask(heatmap, threshold, nms_kernel, top_k).nonzero()


def _center_mask(heatmap: Tensor, threshold: float, nms_kernel: int, top_k: int | None) -> Tensor:
    """(H, W) bool; see :func:`find_instance_centers`."""
    if heatmap.dim() != 2:
        raise ValueError(f"heatmap has the shape {tuple(heatmap.shape)}, not (H, W).")
    if nms_kernel % 2 == 0:
        raise ValueError(f"nms_kernel={nms_kernel} is even; a window around a pixel is odd.")
    maxima = _local_maxima(heatmap, max(threshold, 0.0), nms_kernel)
    return _highest(maxima, heatmap, top_k)


def _highest(maxima: Tensor, heatmap: Tensor, top_k: int | None) -> Tensor:
    """(H, W) bool: those of ``maxima`` that are higher than the ``top_k``-th of them, if any is."""
    if top_k is None or heatmap.numel() < top_k:
        return maxima
    # A map is read faster than the host learns how many maxima there are; the host itself counts.
    if maxima.is_cpu and int(maxima.sum()) < top_k:
        return maxima
    heights = heatmap.where(maxima, -torch.inf).flatten()
    return maxima & (heatmap > heights.topk(top_k).values[-1])


def _local_maxima(heatmap: Tensor, threshold: float, nms_kernel: int) -> Tensor:
    """(H, W) bool."""
    if kernels := _kernels(heatmap):
        values = heatmap.contiguous().numpy()
        found = kernels.local_maxima(values, np.float32(threshold), nms_kernel // 2)
        return torch.from_numpy(found)
    peaks = F.max_pool2d(heatmap[None], nms_kernel, stride=1, padding=nms_kernel // 2)[0]
    return (heatmap == peaks) & (heatmap > threshold)


def _kernels(values: Tensor) -> ModuleType | None:
    """The compiled loops; None where they are not for ``values``, a map of float32."""
    if values.device.type != "cpu" or values.dtype != torch.float32 or values.requires_grad:
        return None
    if values.shape[-2:].numel() < KERNELS_FROM or find_spec("numba") is None:
        return None
    from seg_projects.postprocessing import grouping_kernels

    return grouping_kernels


def group_pixels(centers_yx: Tensor, offsets: Tensor, thing_mask: Tensor) -> Tensor:
    """(H, W) int64: 1 + the centre nearest to where the offset leads; 0 where no thing is.

    Args:
        centers_yx: (K, 2) pixel indices.
        offsets: (2, H, W) float, (dy, dx) in pixels.
        thing_mask: (H, W) bool.
    """
    instances = torch.zeros(thing_mask.shape, dtype=torch.int64, device=thing_mask.device)
    if len(centers_yx):
        pixels = thing_mask.flatten().nonzero()[:, 0]
        instances.view(-1)[pixels] = _nearest(centers_yx, offsets, pixels) + 1
    return instances


def _nearest(centers_yx: Tensor, offsets: Tensor, pixels: Tensor) -> Tensor:
    """(P,) the centre of each of ``pixels``, flat indices."""
    width = offsets.shape[2]
    rows = torch.div(pixels, width, rounding_mode="floor")
    y = rows + offsets[0].take(pixels)
    x = (pixels - rows * width) + offsets[1].take(pixels)
    return nearest_center(y, x, centers_yx)


def merge_semantic_and_instance(
    semantic: Tensor,
    instances: Tensor,
    thing_mask: Tensor,
    *,
    label_divisor: int,
    thing_ids: Collection[int],
    stuff_area: int,
    void_label: int,
) -> Tensor:
    """The (H, W) int64 panoptic map: each instance takes the class of most of its pixels.

    Of equally frequent classes the smallest counts. Instances of a class are numbered from 1, by
    rising id. A stuff class needs ``stuff_area`` pixels outside all instances.

    Args:
        semantic: (H, W) int64 classes.
        instances: (H, W) int64 ids, 0 where there is none.
        thing_mask: (H, W) bool; instances are cut to it.
        label_divisor: larger than the number of instances of any class.
        thing_ids: classes that are no stuff.
        stuff_area: in pixels.
        void_label: of all pixels that belong to nothing.
    """
    labels, ids = semantic.flatten(), instances.flatten()
    pixels = ids.nonzero()[:, 0]
    owners = torch.where(thing_mask.flatten().take(pixels), ids.take(pixels), 0)
    settings = _Settings(thing_ids, label_divisor, stuff_area, void_label)
    merged = _merge(labels, pixels, owners, _size(labels), _size(owners), settings)
    return merged.view(semantic.shape)


class _Settings(NamedTuple):
    """Of :func:`merge_semantic_and_instance`."""

    thing_ids: Collection[int]
    label_divisor: int
    stuff_area: int
    void_label: int


def _merge(
    labels: Tensor, pixels: Tensor, owners: Tensor, classes: int, count: int, settings: _Settings
) -> Tensor:
    """(P,) panoptic labels of all pixels.

    Args:
        labels: (P,) int64 classes.
        pixels: (Q,) int64 indices of pixels of instances.
        owners: (Q,) int64 ids of these, 0 for none.
        classes: larger than all of ``labels``.
        count: larger than all of ``owners``.
        settings: of the merge.
    """
    of_instances = labels.take(pixels)
    areas = histogram(labels, classes) - histogram(of_instances, classes)
    is_thing = _is_thing(classes, settings.thing_ids, labels.device)
    stuff = torch.arange(classes, device=labels.device) * settings.label_divisor
    panoptic = torch.where(
        (areas >= settings.stuff_area) & ~is_thing, stuff, settings.void_label
    ).take(labels)
    votes = histogram(owners * classes + of_instances, count * classes)
    things = _instance_table(
        votes.view(count, classes), settings.label_divisor, settings.void_label
    )
    panoptic[pixels] = things.take(owners)
    return panoptic


def _size(values: Tensor) -> int:
    return int(values.max()) + 1 if len(values) else 1


def _is_thing(classes: int, thing_ids: Collection[int], device: torch.device) -> Tensor:
    table = torch.zeros(classes, dtype=torch.bool)
    table[[id_ for id_ in thing_ids if id_ < classes]] = True
    return table.to(device, non_blocking=True)


def _instance_table(votes: Tensor, label_divisor: int, void_label: int) -> Tensor:
    """(I,) the label of each instance id from its pixels per class (I, K); row 0 is void."""
    votes = votes.clone()
    votes[0] = 0
    winners = votes.argmax(dim=1)
    present = votes.any(dim=1)
    chosen = F.one_hot(winners, votes.shape[1]) * present[:, None]
    numbers = chosen.cumsum(dim=0).gather(1, winners[:, None])[:, 0]
    return torch.where(present, winners * label_divisor + numbers, void_label)


def group_panoptic(
    semantic: Tensor,
    heatmap: Tensor,
    offsets: Tensor,
    *,
    thing_ids: Collection[int],
    label_divisor: int,
    stuff_area: int,
    void_label: int,
    threshold: float = 0.1,
    nms_kernel: int = 7,
    top_k: int | None = 200,
    foreground_mask: Tensor | None = None,
) -> PanopticGrouping:
    """The panoptic map of one image; see the functions of the steps for the arguments.

    The host waits for the device once: for how many centres and pixels of things there are.

    Args:
        semantic: (H, W) int64 classes.
        heatmap: (H, W) float centre map.
        offsets: (2, H, W) float (dy, dx).
        thing_ids: classes with instances.
        label_divisor: label of an instance is class * label_divisor + number.
        stuff_area: smallest area of stuff, in pixels.
        void_label: label of pixels that belong to nothing.
        threshold: of centres.
        nms_kernel: of centres, in pixels.
        top_k: of centres.
        foreground_mask: (H, W) where things are; where ``semantic`` says so, if absent.
    """
    settings = _Settings(thing_ids, label_divisor, stuff_area, void_label)
    kernels = _kernels(offsets)
    maxima = _center_mask(heatmap, threshold, nms_kernel, top_k)
    if kernels is not None and semantic.dtype == torch.int64 and maxima.any():
        centers = maxima.nonzero()
        panoptic = _grouped_by_kernels(
            kernels, semantic, centers, offsets, foreground_mask, settings
        )
        return PanopticGrouping(panoptic, centers)
    things = _things(semantic, thing_ids) if foreground_mask is None else foreground_mask > 0
    labels = semantic.flatten()
    counts = torch.stack([maxima.sum(), things.sum(), labels.max() + 1]).tolist()
    centers = true_at(maxima, counts[0])
    pixels = true_at(things.flatten(), counts[1] if counts[0] else 0)[:, 0]
    owners = _nearest(centers, offsets, pixels) + 1 if counts[0] else pixels
    panoptic = _merge(labels, pixels, owners, counts[2], counts[0] + 1, settings)
    return PanopticGrouping(panoptic.view(semantic.shape), centers)


def _things(semantic: Tensor, thing_ids: Collection[int]) -> Tensor:
    """(H, W) bool."""
    # One more than the things have, for all classes beyond.
    size = max(thing_ids, default=-1) + 2
    is_thing = _is_thing(size, thing_ids, semantic.device)
    return is_thing.take(semantic.clamp(max=size - 1))


def _grouped_by_kernels(
    kernels: ModuleType,
    semantic: Tensor,
    centers_yx: Tensor,
    offsets: Tensor,
    foreground_mask: Tensor | None,
    settings: _Settings,
) -> Tensor:
    """The panoptic map of the steps above in two passes over the image, without thing masks."""
    classes = _size(semantic.flatten())
    is_thing = _is_thing(classes, settings.thing_ids, semantic.device)
    labels = semantic.contiguous().numpy()
    foreground = (
        np.empty((0, 0), dtype=bool)
        if foreground_mask is None
        else (foreground_mask > 0).view(semantic.shape).contiguous().numpy()
    )
    centers = centers_yx.to(offsets.dtype).numpy()
    rows, columns = (int(extent) // kernels.CELL + 3 for extent in centers.max(axis=0))
    first, candidates = kernels.candidate_grid(centers, rows, columns)
    instances, counts = kernels.assign(
        labels,
        foreground,
        is_thing.numpy(),
        offsets.contiguous().numpy(),
        centers,
        first,
        candidates,
        columns,
        classes,
    )
    votes = torch.from_numpy(counts)
    stuff = (votes[0] >= settings.stuff_area) & ~is_thing
    stuff_values = torch.where(
        stuff, torch.arange(classes) * settings.label_divisor, settings.void_label
    )
    thing_values = _instance_table(votes, settings.label_divisor, settings.void_label)
    return torch.from_numpy(
        kernels.paint(labels, instances, stuff_values.numpy(), thing_values.numpy())
    )
