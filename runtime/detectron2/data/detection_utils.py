"""Reading images, and turning annotations into the ground truth of a model.

Boxes are in pixels, image sizes (height, width), arrays (H, W, C).
"""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from fvcore.transforms.transform import CropTransform, Transform, TransformList
from PIL import Image

from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.data.catalog import MetadataCatalog
from detectron2.structures import (
    BitMasks,
    Boxes,
    BoxMode,
    Instances,
    PolygonMasks,
    polygons_to_bitmask,
)
from detectron2.utils.file_io import PathManager

__all__ = [
    "SizeMismatchError",
    "annotations_to_instances",
    "build_augmentation",
    "build_transform_gen",
    "check_image_size",
    "convert_image_to_rgb",
    "filter_empty_instances",
    "read_image",
    "transform_instance_annotations",
    "transform_proposals",
]

logger = logging.getLogger(__name__)

# Rec. 601: full-range RGB in [0, 1] to analogue YUV, and back.
_RGB_TO_YUV = np.array(
    [[0.299, 0.587, 0.114], [-0.14713, -0.28886, 0.436], [0.615, -0.51499, -0.10001]]
)
_YUV_TO_RGB = np.array([[1.0, 0.0, 1.13983], [1.0, -0.39465, -0.58060], [1.0, 2.03211, 0.0]])

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class SizeMismatchError(ValueError):
    """An image is not of the size that its record says."""


def read_image(file_name: str, format: str | None = None) -> np.ndarray:
    """Reads an image and turns it upright, as its EXIF orientation says.

    Args:
        file_name: a path, local or known to ``PathManager``.
        format: one of Pillow's modes, ``"BGR"`` or ``"YUV-BT.601"``; the file's own mode if None.

    Returns:
        (H, W, C) for colours and ``"L"``, in the format's order of channels; (H, W) else. uint8
        in [0, 255]; of the file's type if None; float64 for ``"YUV-BT.601"``: Y in [0, 1].
    """
    with PathManager.open(file_name, "rb") as file:
        content = file.read()
    try:
        image = Image.open(io.BytesIO(content))
        if format == "BGR" and _is_plain_jpeg(image, content):
            return _decode_jpeg(content)
        return convert_PIL_to_numpy(_upright(image), format)
    except OSError as error:
        raise type(error)(f"the image {file_name!r} cannot be read: {error}") from error


def _is_plain_jpeg(image: Image.Image, content: bytes) -> bool:
    """Whether ``content`` is a whole RGB JPEG that is upright as it is."""
    # OpenCV would fill up the rest of a truncated file instead of refusing it.
    whole = image.format == "JPEG" and image.mode == "RGB" and content.endswith(b"\xff\xd9")
    return whole and image.getexif().get(_EXIF_ORIENTATION, 1) not in _UPRIGHT


def _decode_jpeg(content: bytes) -> np.ndarray:
    """(H, W, 3) BGR: the same pixels as Pillow's, by the same library, without a second copy."""
    import cv2

    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels: Any = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if pixels is None:
        raise OSError("its JPEG data are damaged")
    return pixels


def _upright(image: Image.Image) -> Image.Image:
    method = _UPRIGHT.get(image.getexif().get(_EXIF_ORIENTATION, 1))
    return image if method is None else image.transpose(method)


def convert_PIL_to_numpy(  # noqa: N802  (Detectron2's name)
    image: Image.Image, format: str | None
) -> np.ndarray:
    """The pixels of a Pillow image in ``format``; see :func:`read_image`."""
    mode = "RGB" if format in ("BGR", "YUV-BT.601") else format
    if mode is not None and image.mode != mode:
        try:
            image = image.convert(mode)
        except ValueError as error:
            raise ValueError(f"format={format!r}: no way from {image.mode!r}: {error}") from error
    if format == "BGR":
        # Pillow writes the channels in this order as fast as in its own.
        pixels = np.frombuffer(image.tobytes("raw", "BGR"), np.uint8)
        return pixels.reshape(image.height, image.width, 3)
    pixels = np.asarray(image)
    if format == "L":
        return pixels[:, :, None]
    if format == "YUV-BT.601":
        return (pixels / 255.0) @ _RGB_TO_YUV.T
    return pixels


def convert_image_to_rgb(image: np.ndarray | torch.Tensor, format: str | None) -> np.ndarray:
    """(H, W, 3) RGB in [0, 255] from an image in ``format``.

    Args:
        image: (H, W, C) in [0, 255], or as :func:`read_image` gives it for ``"YUV-BT.601"``.
        format: see :func:`read_image`.

    Returns:
        uint8, or float64 for ``"YUV-BT.601"``.
    """
    pixels = image.cpu().numpy() if isinstance(image, torch.Tensor) else image
    if format == "BGR":
        return pixels[:, :, [2, 1, 0]]
    if format == "YUV-BT.601":
        return (pixels @ _YUV_TO_RGB.T) * 255.0
    if format == "L":
        pixels = pixels[:, :, 0]
    return np.asarray(Image.fromarray(pixels.astype(np.uint8), mode=format).convert("RGB"))


def check_image_size(dataset_dict: dict[str, Any], image: np.ndarray) -> None:
    """Raises where the image is not of the record's size; notes the size where it has none."""
    height, width = image.shape[:2]
    dataset_dict.setdefault("width", width)
    dataset_dict.setdefault("height", height)
    expected = (dataset_dict["width"], dataset_dict["height"])
    if (width, height) != expected:
        name = f" for image {dataset_dict['file_name']}" if "file_name" in dataset_dict else ""
        raise SizeMismatchError(
            f"Mismatched image shape{name}, got {(width, height)}, expect {expected}. "
            "Please check the width/height in your annotation."
        )


def get_bbox(annotation: dict[str, Any]) -> Any:
    """The annotation's box as XYXY, in the container it came in."""
    return BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)


def transform_proposals(
    dataset_dict: dict[str, Any],
    image_shape: tuple[int, int],
    transforms: Transform,
    *,
    proposal_topk: int,
    min_box_size: float = 0,
) -> None:
    """Replaces a record's precomputed proposals, if any, by transformed ``Instances``.

    Args:
        dataset_dict: a record that may have ``proposal_boxes`` (N, 4), ``proposal_bbox_mode`` and
            ``proposal_objectness_logits`` (N,), in descending order; changed in place.
        image_shape: of the transformed image.
        transforms: those of the image.
        proposal_topk: the number of proposals that are kept at most.
        min_box_size: in pixels; boxes that are not larger are dropped.
    """
    if "proposal_boxes" not in dataset_dict:
        return
    mode = dataset_dict.pop("proposal_bbox_mode")
    raw = BoxMode.convert(dataset_dict.pop("proposal_boxes"), mode, BoxMode.XYXY_ABS)
    boxes = Boxes(transforms.apply_box(raw))
    boxes.clip(image_shape)
    logits = dataset_dict.pop("proposal_objectness_logits")
    keep = boxes.nonempty(threshold=min_box_size)
    proposals = Instances(image_shape)
    proposals.proposal_boxes = boxes[keep][:proposal_topk]
    scores = torch.as_tensor(np.asarray(logits, dtype=np.float32))
    proposals.objectness_logits = scores[keep][:proposal_topk]
    dataset_dict["proposals"] = proposals


def transform_instance_annotations(
    annotation: dict[str, Any],
    transforms: Transform | Sequence[Transform],
    image_size: tuple[int, int],
    *,
    keypoint_hflip_indices: np.ndarray | None = None,
) -> dict[str, Any]:
    """Transforms one annotation of an instance in place, and returns it.

    Args:
        annotation: with ``bbox`` and ``bbox_mode``, which become XYXY inside the image, and
            perhaps ``segmentation``: polygons stay polygons, RLE becomes an (H, W) mask.
        transforms: those of the image.
        image_size: of the transformed image.
        keypoint_hflip_indices: must be None: keypoints are not supported.
    """
    if keypoint_hflip_indices is not None or "keypoints" in annotation:
        raise NotImplementedError(
            "keypoints are not supported: remove 'keypoints' from the annotations"
        )
    tfm = transforms if isinstance(transforms, Transform) else TransformList(list(transforms))
    height, width = image_size
    box = tfm.apply_box(np.array([get_bbox(annotation)]))[0].clip(min=0)
    annotation["bbox"] = np.minimum(box, [width, height, width, height])
    annotation["bbox_mode"] = BoxMode.XYXY_ABS
    if "segmentation" in annotation:
        annotation["segmentation"] = _transform_mask(annotation["segmentation"], tfm, image_size)
    return annotation


def _transform_mask(mask: Any, transforms: Transform, image_size: tuple[int, int]) -> Any:
    """Polygons as a list of float arrays, RLE as a mask."""
    if isinstance(mask, list):
        # A copy: fvcore's transforms write into what they get.
        points = [np.array(polygon, dtype=np.float64).reshape(-1, 2) for polygon in mask]
        return [polygon.reshape(-1) for polygon in transforms.apply_polygons(points)]
    if isinstance(mask, dict):
        moved = transforms.apply_segmentation(_decode_rle(mask))
        if moved.shape[:2] != tuple(image_size):
            raise ValueError(
                f"a mask of the size {mask['size']} became {moved.shape[:2]} where the image "
                f"became {tuple(image_size)}: it was not of the image's size"
            )
        return moved
    raise ValueError(
        f"Cannot transform segmentation of type '{type(mask)}'! Supported types are: polygons as "
        "list[list[float] or ndarray], COCO-style RLE as a dict."
    )


def _decode_rle(rle: dict[str, Any]) -> np.ndarray:
    """(H, W) uint8 mask of a COCO RLE, compressed or not."""
    from pycocotools import mask as mask_api

    if isinstance(rle["counts"], list):
        rle = mask_api.frPyObjects(rle, *rle["size"])
    return mask_api.decode(rle)


def annotations_to_instances(
    annos: Sequence[dict[str, Any]], image_size: tuple[int, int], mask_format: str = "polygon"
) -> Instances:
    """The ground truth of an image from its transformed annotations.

    Args:
        annos: annotations as :func:`transform_instance_annotations` gives them.
        image_size: of the transformed image.
        mask_format: ``"polygon"`` or ``"bitmask"``.

    Returns:
        ``gt_boxes`` (XYXY), ``gt_classes`` (int64) and, where the annotations have masks,
        ``gt_masks``.
    """
    boxes = np.stack([get_bbox(anno) for anno in annos]) if annos else np.zeros((0, 4))
    target = Instances(image_size)
    target.gt_boxes = Boxes(boxes)
    target.gt_classes = torch.tensor([int(a["category_id"]) for a in annos], dtype=torch.int64)
    if annos and "segmentation" in annos[0]:
        masks = [anno["segmentation"] for anno in annos]
        assert mask_format in ("polygon", "bitmask"), (
            f"mask_format={mask_format!r} is neither 'polygon' nor 'bitmask'"
        )
        make = _polygon_masks if mask_format == "polygon" else _bit_masks
        target.gt_masks = make(masks, image_size)
    return target


def _polygon_masks(masks: list[Any], image_size: tuple[int, int]) -> PolygonMasks:
    try:
        return PolygonMasks(masks)
    except ValueError as error:
        raise ValueError(
            "Failed to use mask_format=='polygon' from the given annotations! RLE masks need "
            f"INPUT.MASK_FORMAT 'bitmask', polygons 3 points. ({error})"
        ) from error


def _bit_masks(masks: list[Any], image_size: tuple[int, int]) -> BitMasks:
    pixels = np.zeros((len(masks), *image_size), dtype=bool)
    for index, mask in enumerate(masks):
        bitmap = _to_bitmap(mask, image_size)
        if bitmap.shape != tuple(image_size):
            raise ValueError(
                f"a mask of the size {bitmap.shape} belongs to an image of {tuple(image_size)}"
            )
        pixels[index] = bitmap
    return BitMasks(torch.from_numpy(pixels))


def _to_bitmap(mask: Any, image_size: tuple[int, int]) -> np.ndarray:
    if isinstance(mask, list):
        return polygons_to_bitmask([np.asarray(polygon) for polygon in mask], *image_size)
    if isinstance(mask, dict):
        return _decode_rle(mask)
    if isinstance(mask, np.ndarray):
        assert mask.ndim == 2, f"Expect segmentation of 2 dimensions, got {mask.ndim}."
        return mask
    raise ValueError(
        f"Cannot convert segmentation of type '{type(mask)}' to BitMasks! Supported types are: "
        "polygons as list[list[float] or ndarray], COCO-style RLE as a dict, or a binary "
        "segmentation mask in a 2D numpy array of shape HxW."
    )


def filter_empty_instances(
    instances: Instances,
    by_box: bool = True,
    by_mask: bool = True,
    box_threshold: float = 1e-5,
    return_mask: bool = False,
) -> Any:
    """Drops instances with an empty box or an empty mask.

    Args:
        instances: with ``gt_boxes``, and perhaps ``gt_masks``.
        by_box: whether boxes not larger than ``box_threshold`` pixels count as empty.
        by_mask: whether masks without a pixel, or without a polygon, count as empty.
        box_threshold: in pixels.
        return_mask: whether to return also what was kept, as (N,) bool.
    """
    assert by_box or by_mask, "by_box or by_mask must be set"
    keep = torch.ones(len(instances), dtype=torch.bool)
    if by_box:
        keep = keep & instances.gt_boxes.nonempty(threshold=box_threshold)
    if by_mask and instances.has("gt_masks"):
        keep = keep & instances.gt_masks.nonempty()
    return (instances[keep], keep) if return_mask else instances[keep]


def gen_crop_transform_with_instance(
    crop_size: tuple[int, int], image_size: tuple[int, int], instance: dict[str, Any]
) -> CropTransform:
    """A random crop that holds the centre of an instance.

    Args:
        crop_size: (height, width) in pixels, at most the image's.
        image_size: of the image.
        instance: an annotation with ``bbox`` and ``bbox_mode``.
    """
    x0, y0, x1, y1 = get_bbox(instance)
    size, limit = np.asarray(crop_size, dtype=np.int32), np.asarray(image_size)
    centre = np.array(((y0 + y1) * 0.5, (x0 + x1) * 0.5))
    if (centre > limit).any():
        raise AssertionError(f"the box {[x0, y0, x1, y1]} lies outside the image {image_size}")
    if (size > limit).any():
        raise AssertionError(f"the crop {crop_size} is larger than the image {image_size}")
    first = np.maximum(np.floor(centre).astype(np.int32) - size, 0)
    last = np.minimum(np.maximum(limit - size, 0), np.ceil(centre).astype(np.int32))
    # The legacy generator of the augmentations, so that one seed governs all of them.
    top, left = (np.random.randint(low, high + 1) for low, high in zip(first, last, strict=True))  # noqa: NPY002
    return CropTransform(left, top, int(size[1]), int(size[0]))


def check_metadata_consistency(key: str, dataset_names: Sequence[str]) -> None:
    """Raises where data sets that are used together have different metadata under ``key``."""
    entries = [getattr(MetadataCatalog.get(name), key) for name in dataset_names]
    for name, entry in zip(dataset_names, entries, strict=True):
        if entry != entries[0]:
            logger.error("Metadata %r for dataset %r is %r", key, name, entry)
            logger.error("Metadata %r for dataset %r is %r", key, dataset_names[0], entries[0])
            raise ValueError(
                f"Datasets have different metadata {key!r}! {name!r} differs from "
                f"{dataset_names[0]!r}: do not use them together."
            )


def build_augmentation(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """The default augmentations: a resize of the shortest edge and, in training, a flip."""
    kind = "TRAIN" if is_train else "TEST"
    style = cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING if is_train else "choice"
    resize = T.ResizeShortestEdge(
        cfg.INPUT[f"MIN_SIZE_{kind}"], cfg.INPUT[f"MAX_SIZE_{kind}"], style
    )
    flip = cfg.INPUT.RANDOM_FLIP
    if not is_train or flip == "none":
        return [resize]
    return [
        resize,
        T.RandomFlip(horizontal=flip == "horizontal", vertical=flip == "vertical"),
    ]


# The name of earlier versions.
build_transform_gen = build_augmentation


def get_fed_loss_cls_weights(
    dataset_names: str | list[str], freq_weight_power: float = 1.0
) -> torch.Tensor:
    """Sampling weights of the classes for the federated loss (arXiv:2103.07461).

    Args:
        dataset_names: data sets whose metadata has ``class_image_count``.
        freq_weight_power: the power to which the number of images of each class is raised.

    Returns:
        (K,) float32, by ascending category id.
    """
    names = [dataset_names] if isinstance(dataset_names, str) else dataset_names
    check_metadata_consistency("class_image_count", names)
    counts = sorted(MetadataCatalog.get(names[0]).class_image_count, key=lambda c: c["id"])
    return torch.tensor([c["image_count"] for c in counts]).float() ** freq_weight_power
