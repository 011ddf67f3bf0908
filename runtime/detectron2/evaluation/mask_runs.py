"""Run-length encoding of masks and label maps, equal to pycocotools' and several times faster.

COCO's encoding walks an image column by column and counts the pixels of alternating background and
foreground runs. A mask is mostly background, so that only the box of its foreground is looked at.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["encode_label_map", "encode_masks"]

Rle = dict[str, Any]


def encode_masks(masks: np.ndarray) -> list[Rle]:
    """Encodes binary masks.

    Args:
        masks: (R, H, W), bool or uint8 of 0 and 1.

    Returns:
        For each mask ``{"size": [H, W], "counts": str}``: COCO's compressed encoding as ASCII text.
    """
    height, width = masks.shape[1:]
    if masks.dtype != bool:
        masks = masks.astype(bool)
    return _compress([_foreground_edges(mask) for mask in masks], height, width)


def encode_label_map(labels: np.ndarray) -> dict[int, Rle]:
    """Encodes the mask of every label of a map in one pass.

    Args:
        labels: (H, W) integers.

    Returns:
        Label -> encoding, by ascending label, for the labels that occur.
    """
    height, width = labels.shape
    if not labels.size:
        return {}
    flat = np.ascontiguousarray(labels.T).ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    ends = np.append(starts[1:], flat.size)
    run_labels = flat[starts]
    order = np.argsort(run_labels, kind="stable")
    edges = np.stack([starts[order], ends[order]], axis=1)  # (runs, 2), grouped by label
    present, first = np.unique(run_labels[order], return_index=True)
    groups = [group.ravel() for group in np.split(edges, first[1:])]
    return dict(zip(present.tolist(), _compress(groups, height, width), strict=True))


def _foreground_edges(mask: np.ndarray) -> np.ndarray:
    """Positions, in column-major order, at which foreground runs start and end, alternating."""
    height = mask.shape[0]
    # On bytes this reduction is vectorised, and much faster than `any` of torch or numpy.
    columns = np.flatnonzero(np.bitwise_or.reduce(mask.view(np.uint8), axis=0))
    if not columns.size:
        return columns
    x0, x1 = columns[0], columns[-1] + 1
    rows = np.flatnonzero(np.bitwise_or.reduce(mask[:, x0:x1].view(np.uint8), axis=1))
    y0, y1 = rows[0], rows[-1] + 1
    # A background row below the box keeps runs of neighbouring columns apart; a box of full height
    # has none, because there a run does go on in the next column. The last element ends all runs.
    stride = y1 - y0 + (y1 - y0 < height)
    flat = np.zeros((x1 - x0) * stride + 1, dtype=bool)
    flat[:-1].reshape(x1 - x0, stride)[:, : y1 - y0] = mask[y0:y1, x0:x1].T
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat[0]:
        edges = np.concatenate([[0], edges])
    x, y = np.divmod(edges, stride)
    return (x + x0) * height + y + y0


def _compress(edges: list[np.ndarray], height: int, width: int) -> list[Rle]:
    if not edges:
        return []
    from pycocotools import mask as mask_api

    pixels = height * width
    runs = []
    for positions in edges:
        closed = positions.size and positions[-1] == pixels
        bounds = positions if closed else np.append(positions, pixels)
        counts = np.diff(bounds, prepend=0).tolist()
        runs.append({"size": [height, width], "counts": counts})
    encoded = mask_api.frPyObjects(runs, height, width)
    return [{"size": rle["size"], "counts": rle["counts"].decode("ascii")} for rle in encoded]
