"""Segmentations painted over their images: pure functions from arrays to an RGB image.

Legend: H x W pixels, S segments, layers 0 (void) and 1 to S. Cost follows pixels: every pixel looks
its colours up by layer; no loop over segments touches the image except for drawing a name.
"""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_projects.colors import spread_color

Image = NDArray[np.uint8]
Ids = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """What a class is called and which colour it has."""

    name: str
    color: tuple[int, int, int]
    """RGB in [0, 255]."""
    is_thing: bool


class _Box(NamedTuple):
    """The pixels of a drawn name, ends excluded."""

    x_0: int
    y_0: int
    x_1: int
    y_1: int

    def meets(self, other: _Box) -> bool:
        across = self.x_0 < other.x_1 and other.x_0 < self.x_1
        return across and self.y_0 < other.y_1 and other.y_0 < self.y_1


def categories_from_coco(records: Iterable[Mapping[str, Any]]) -> dict[int, Category]:
    """Categories by id, from the ``categories`` of a COCO panoptic JSON."""
    return {
        record["id"]: Category(
            name=record["name"],
            color=tuple(record.get("color") or spread_color(index)),
            is_thing=bool(record["isthing"]),
        )
        for index, record in enumerate(records)
    }


def panoptic_overlay(
    image_rgb: Image,
    panoptic_ids: Ids,
    segments: Sequence[Mapping[str, Any]],
    categories: Mapping[int, Category],
    *,
    alpha: float = 0.55,
    names: bool = True,
) -> Image:
    """Tints every segment, draws thin boundaries, names large segments; void is grey and hatched.

    Things of one category have different tints around the category's colour.

    Args:
        image_rgb: (H, W, 3).
        panoptic_ids: (H, W) segment ids; ids that ``segments`` does not list are void.
        segments: ``id`` and ``category_id`` of each segment, as in COCO.
        categories: By the ids that ``segments`` uses.
        alpha: Opacity of the tints in [0, 1].
        names: Whether names are drawn.

    Returns:
        (H, W, 3), a new array.
    """
    layers = _layer_map(panoptic_ids, [segment["id"] for segment in segments])
    known = [_category(categories, segment["category_id"]) for segment in segments]
    return _paint(image_rgb, layers, known, alpha=alpha, names=names, paint_void=_hatch_void)


def instance_overlay(
    image_rgb: Image,
    ids: Ids,
    instances: Sequence[Mapping[str, Any]],
    categories: Mapping[int, Category],
    *,
    alpha: float = 0.55,
    names: bool = True,
) -> Image:
    """Like ``panoptic_overlay`` with the image as it is where no instance lies.

    Where there is but one category, its name is not written over each of its objects.
    """
    names = names and len(categories) > 1
    layers = _layer_map(ids, [instance["id"] for instance in instances])
    known = [_category(categories, instance["category_id"]) for instance in instances]
    return _paint(image_rgb, layers, known, alpha=alpha, names=names, paint_void=_keep_image)


def flatten_masks(
    masks: NDArray[np.bool_], category_ids: Sequence[int]
) -> tuple[Ids, list[dict[str, int]]]:
    """Masks that may overlap as one (H, W) map of ids, later ones on top, and their list.

    Args:
        masks: (R, H, W); the mask i gets the id i + 1.
        category_ids: Of each mask.
    """
    ids = np.zeros(masks.shape[1:], np.int32)
    for number, mask in enumerate(masks, start=1):
        ids[mask] = number
    return ids, [{"id": i, "category_id": c} for i, c in enumerate(category_ids, start=1)]


def semantic_overlay(
    image_rgb: Image,
    labels: Ids,
    categories: Mapping[int, Category],
    *,
    alpha: float = 0.55,
    names: bool = True,
) -> Image:
    """Like ``panoptic_overlay`` for an (H, W) map of class labels, the keys of ``categories``.

    Labels without a category, such as the ignored 255, are void.
    """
    layers = _layer_map(labels, list(categories))
    # As stuff, so that a class has its own colour exactly.
    known = [
        Category(name=category.name, color=category.color, is_thing=False)
        for category in categories.values()
    ]
    return _paint(image_rgb, layers, known, alpha=alpha, names=names, paint_void=_hatch_void)


def side_by_side(
    images: Sequence[Image],
    *,
    gap: int = 8,
    background: tuple[int, int, int] = (255, 255, 255),
) -> Image:
    """The (H, W, 3) images in one row, ``gap`` pixels apart, aligned at the top."""
    if not images:
        raise ValueError("side_by_side got no image; give it one or more.")
    height = max(image.shape[0] for image in images)
    width = sum(image.shape[1] for image in images) + gap * (len(images) - 1)
    row = np.empty((height, width, 3), np.uint8)
    row[:] = background
    left = 0
    for image in images:
        row[: image.shape[0], left : left + image.shape[1]] = image
        left += image.shape[1] + gap
    return row


def double_image(image_rgb: Image) -> Image:
    """(2 H, 2 W, 3) by bicubic interpolation."""
    import cv2

    return cv2.resize(image_rgb, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)


def double_ids(ids: Ids) -> Ids:
    """(2 H, 2 W) of the same ids, diagonal edges smoothed.

    A quarter of a pixel takes the id of its two outer neighbours where these agree and the other
    two differ from them: the Scale2x rule of A. Mazzoleni. No id is invented.
    """
    padded = np.pad(ids, 1, mode="edge")
    up, down, left, right = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
    doubled = np.empty((2 * ids.shape[0], 2 * ids.shape[1]), ids.dtype)
    crossing = (up != down) & (left != right)
    corners = {(0, 0): (up, left), (0, 1): (up, right), (1, 0): (down, left), (1, 1): (down, right)}
    for (row, column), (vertical, horizontal) in corners.items():
        rounded = crossing & (vertical == horizontal)
        doubled[row::2, column::2] = np.where(rounded, vertical, ids)
    return doubled


def _category(categories: Mapping[int, Category], category_id: int) -> Category:
    if category_id not in categories:
        raise KeyError(
            f"A segment has category_id={category_id}; the categories are {sorted(categories)}. "
            "Contiguous ids have to be mapped back to those of the data set first."
        )
    return categories[category_id]


def _layer_map(ids: Ids, listed: Sequence[int]) -> NDArray[np.intp]:
    """(H, W) position of each pixel's id in ``listed``, from 1; 0 where it is not listed."""
    if not listed:
        return np.zeros(ids.shape, np.intp)
    values = np.asarray(listed, np.int64)
    order = np.argsort(values)
    slots = np.minimum(np.searchsorted(values[order], ids), len(values) - 1)
    return np.where(values[order][slots] == ids, order[slots] + 1, 0)


def _tints(categories: Sequence[Category]) -> NDArray[np.uint8]:
    """(S + 1, 3) colour of each layer; things of one category in distinct shades of its colour."""
    seen: Counter[str] = Counter()
    tints = [(128, 128, 128)]
    for category in categories:
        rank = seen[category.name] if category.is_thing else 0
        seen[category.name] += 1
        tints.append(_shade(category.color, rank))
    return np.array(tints, np.uint8)


def _shade(color: tuple[int, int, int], rank: int) -> tuple[int, int, int]:
    """The colour itself for rank 0, then ever other shades of about the same hue."""
    if rank == 0:
        return color
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in color))
    # Two irrational steps: hue, saturation and value of successive ranks never repeat together.
    swing, sway = rank * 0.618034 % 1 - 0.5, rank * 0.754878 % 1 - 0.5
    red, green, blue = colorsys.hsv_to_rgb(
        (hue + 0.11 * swing) % 1,
        min(1.0, max(0.0, saturation * (1 + 0.7 * sway))),
        min(1.0, max(0.35, value * (1 + 0.5 * swing))),
    )
    return round(red * 255), round(green * 255), round(blue * 255)


def _paint(
    image_rgb: Image,
    layers: NDArray[np.intp],
    categories: Sequence[Category],
    *,
    alpha: float,
    names: bool,
    paint_void: Callable[[Image, Image, NDArray[np.bool_]], None],
) -> Image:
    """The overlay of layers 1 to S, which have the given categories.

    ``paint_void`` takes the overlay, the image and where no layer is, and paints that.
    """
    if image_rgb.shape != (*layers.shape, 3):
        raise ValueError(
            f"The image has the shape {image_rgb.shape}, the segmentation {layers.shape}; "
            "both need the same height and width, the image three channels."
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha={alpha} is outside [0, 1]; 0.55 shows image and tints alike.")
    tints = _tints(categories)
    weight = round(alpha * 256)
    blended = image_rgb.astype(np.uint16) * np.uint16(256 - weight)
    blended += (tints.astype(np.uint16) * np.uint16(weight))[layers]
    painted = (blended >> 8).astype(np.uint8)
    paint_void(painted, image_rgb, layers == 0)
    edges = _boundaries(layers)
    painted[edges] = _edge_colors(tints)[layers[edges]]
    if names and categories and layers.size:
        _write_names(painted, layers, [category.name for category in categories])
    return painted


def _hatch_void(painted: Image, image_rgb: Image, void: NDArray[np.bool_]) -> None:
    """Dims the void pixels of ``painted`` to grey and hatches them with diagonal lines."""
    rows, columns = np.nonzero(void)
    grey = image_rgb[rows, columns].mean(axis=1) * 0.35 + 40
    grey += 36.0 * ((rows + columns) % 8 < 2)
    painted[rows, columns] = grey.astype(np.uint8)[:, None]


def _keep_image(painted: Image, image_rgb: Image, void: NDArray[np.bool_]) -> None:
    """Shows the image itself at the void pixels of ``painted``."""
    painted[void] = image_rgb[void]


def _boundaries(layers: NDArray[np.intp]) -> NDArray[np.bool_]:
    """(H, W) pixels beside another layer: on one side of the boundary, on both in large images."""
    edges = np.zeros(layers.shape, bool)
    across, down = layers[:, 1:] != layers[:, :-1], layers[1:] != layers[:-1]
    edges[:, :-1] |= across
    edges[:-1] |= down
    if min(layers.shape) >= 320:
        edges[:, 1:] |= across
        edges[1:] |= down
    return edges


def _edge_colors(tints: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(S + 1, 3) a pale version of dark tints, a deep one of light tints."""
    luma = tints @ np.array([0.299, 0.587, 0.114])
    pole = np.where(luma[:, None] < 150, 255.0, 0.0)
    return (pole + (tints - pole) * 0.35).astype(np.uint8)


def _deepest_pixels(layers: NDArray[np.intp], count: int) -> NDArray[np.int64]:
    """(S, 3) for each layer from 1: distance in pixels to its boundary at the pixel (y, x) that
    lies deepest inside; 0 where the layer has no pixel. One pass over the image for all layers.
    """
    import cv2

    inside = np.pad(~_boundaries(layers), 1).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]
    # Depth and position in one number, so that one maximum per layer finds both.
    keys = depth.astype(np.int64) * layers.size + np.arange(layers.size).reshape(layers.shape)
    best = np.zeros(count + 1, np.int64)
    np.maximum.at(best, layers, keys)
    depths, positions = np.divmod(best[1:], layers.size)
    return np.stack([depths, *np.divmod(positions, layers.shape[1])], axis=1)


_DARK, _WHITE = (20, 22, 26), (255, 255, 255)
_OUTLINED = [
    *((dx, dy, _DARK) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy),
    (0, 0, _WHITE),
]


def _write_names(painted: Image, layers: NDArray[np.intp], names: Sequence[str]) -> None:
    """Writes each name where its layer is widest, unless it would not fit or cover another one."""
    import cv2

    height, width = layers.shape
    font, scale = cv2.FONT_HERSHEY_DUPLEX, min(max(min(height, width) / 700, 0.38), 1.2)
    stroke = 1 if scale < 0.8 else 2
    deepest = _deepest_pixels(layers, len(names))
    taken: list[_Box] = []
    for layer in np.argsort(-deepest[:, 0], kind="stable").tolist():
        depth, y, x = deepest[layer].tolist()
        (text_width, text_height), below = cv2.getTextSize(names[layer], font, scale, stroke)
        if depth < 0.8 * text_height or depth < 0.22 * text_width or text_width + 4 > width:
            continue
        left = min(max(x - text_width // 2, 2), width - text_width - 2)
        base = min(max(y + text_height // 2, text_height + 2), height - below - 1)
        box = _Box(left - 2, base - text_height - 2, left + text_width + 2, base + below + 2)
        if any(box.meets(other) for other in taken):
            continue
        taken.append(box)
        # The outline is the text itself, moved: a thicker stroke also widens the letters.
        for dx, dy, color in _OUTLINED:
            place = (left + dx, base + dy)
            cv2.putText(painted, names[layer], place, font, scale, color, stroke, cv2.LINE_AA)
