"""The annotation format of PASCAL VOC: one XML file for each image, boxes alone."""

from __future__ import annotations

import os
from xml.etree import ElementTree

from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.annotation_files import missing_data_error
from detectron2.structures import BoxMode
from detectron2.utils.file_io import PathManager

__all__ = ["load_voc_instances", "register_pascal_voc"]

CLASS_NAMES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


def load_voc_instances(
    dirname: str, split: str, class_names: list[str] | tuple[str, ...]
) -> list[dict]:
    """Reads a split of a data set in PASCAL VOC's layout.

    Args:
        dirname: a folder that holds "Annotations", "ImageSets" and "JPEGImages".
        split: a list of image ids in ImageSets/Main, e.g. "train", "test", "val", "trainval".
        class_names: the classes, in the order of their ids.

    Returns:
        One record for each image, with boxes in XYXY_ABS. VOC counts pixels from 1 and includes the
        last one: 1 is taken from the first corner, so that the box is in continuous coordinates.
    """
    class_ids = {name: index for index, name in enumerate(class_names)}
    annotations = PathManager.get_local_path(os.path.join(dirname, "Annotations/"))
    list_file = os.path.join(dirname, "ImageSets", "Main", f"{split}.txt")
    try:
        with PathManager.open(list_file) as file:
            image_ids = [line.split()[0] for line in file if line.strip()]
    except FileNotFoundError:
        raise missing_data_error(list_file, None) from None

    records = []
    for image_id in image_ids:
        path = os.path.join(annotations, f"{image_id}.xml")
        with PathManager.open(path) as file:
            tree = ElementTree.parse(file).getroot()
        records.append(
            {
                "file_name": os.path.join(dirname, "JPEGImages", f"{image_id}.jpg"),
                "image_id": image_id,
                "height": int(_text(tree, "size/height", path)),
                "width": int(_text(tree, "size/width", path)),
                "annotations": [
                    _annotation(item, class_ids, path) for item in tree.findall("object")
                ],
            }
        )
    return records


def _annotation(
    item: ElementTree.Element, class_ids: dict[str, int], path: str
) -> dict[str, object]:
    name = _text(item, "name", path)
    if name not in class_ids:
        raise ValueError(f"{path} has an object of class {name!r}, which is not in {[*class_ids]}.")
    x0, y0, x1, y1 = (
        float(_text(item, f"bndbox/{side}", path)) for side in ("xmin", "ymin", "xmax", "ymax")
    )
    return {
        "category_id": class_ids[name],
        "bbox": [x0 - 1.0, y0 - 1.0, x1, y1],
        "bbox_mode": BoxMode.XYXY_ABS,
    }


def _text(node: ElementTree.Element, tag: str, path: str) -> str:
    text = node.findtext(tag)
    if text is None:
        raise ValueError(f"{path} has no <{tag.replace('/', '><')}>: this is not VOC's format.")
    return text


def register_pascal_voc(
    name: str,
    dirname: str,
    split: str,
    year: int,
    class_names: list[str] | tuple[str, ...] = CLASS_NAMES,
) -> None:
    """Registers a split of a data set in PASCAL VOC's layout (see :func:`load_voc_instances`)."""
    DatasetCatalog.register(name, lambda: load_voc_instances(dirname, split, class_names))
    MetadataCatalog.get(name).set(
        thing_classes=list(class_names), dirname=dirname, year=year, split=split
    )
