"""COCO's annotation format: reading it, and turning any data set of instances into it."""

from __future__ import annotations

import argparse
import datetime
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.annotation_files import missing_data_error, read_json, write_json
from detectron2.data.datasets.preview import save_drawings
from detectron2.structures import BoxMode
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import setup_logger

__all__ = ["convert_to_coco_json", "load_coco_json", "load_sem_seg", "register_coco_instances"]

logger = logging.getLogger(__name__)

Record = dict[str, Any]


def load_coco_json(
    json_file: str,
    image_root: str,
    dataset_name: str | None = None,
    extra_annotation_keys: Sequence[str] | None = None,
) -> list[Record]:
    """Reads a file in COCO's instance format.

    Args:
        json_file: the annotations.
        image_root: the folder that the images' ``file_name`` are relative to.
        dataset_name: where given, its metadata get ``thing_classes`` and
            ``thing_dataset_id_to_contiguous_id``, and the records have contiguous class ids, in the
            order of the file's category ids. Where None, the category ids are the file's.
        extra_annotation_keys: keys of an annotation to be kept besides ``iscrowd``, ``bbox``,
            ``category_id`` and ``segmentation``.

    Returns:
        One record for each image, by image id: ``file_name``, ``height``, ``width``, ``image_id``
        and ``annotations``. Boxes are XYWH_ABS; a mask is a list of polygons or a compressed RLE.
        Annotations whose polygons are all degenerate are dropped with a warning.
    """
    content = read_json(json_file, dataset_name)
    id_map = None if dataset_name is None else _register_categories(content, dataset_name)
    annotations = content.get("annotations", [])
    _check_annotations(annotations, json_file)
    by_image: dict[Any, list[Record]] = defaultdict(list)
    for annotation in annotations:
        by_image[annotation["image_id"]].append(annotation)

    images = {image["id"]: image for image in content["images"]}
    keys = ["iscrowd", "bbox", "category_id", *(extra_annotation_keys or ())]
    records, kept = [], 0
    for image_id in sorted(images):
        image = images[image_id]
        converted = [_convert(annotation, keys, id_map) for annotation in by_image[image_id]]
        record = {
            "file_name": os.path.join(image_root, image["file_name"]),
            "height": image["height"],
            "width": image["width"],
            "image_id": image_id,
            "annotations": [annotation for annotation in converted if annotation is not None],
        }
        kept += len(record["annotations"])
        records.append(record)

    found = sum(len(by_image[image_id]) for image_id in images)
    _warn_of_losses(json_file, len(annotations), found, kept)
    logger.info("Loaded %d images in COCO format from %s", len(records), json_file)
    return records


def _warn_of_losses(json_file: str, total: int, found: int, kept: int) -> None:
    if found < total:
        logger.warning(
            "%s has %d annotations, of which only %d belong to an image in the file.",
            json_file,
            total,
            found,
        )
    if kept < found:
        logger.warning(
            "%s: dropped %d annotations without a valid polygon (at least three points, and as"
            " many x as y). The tool that made the file may be at fault.",
            json_file,
            found - kept,
        )


def _register_categories(content: Record, dataset_name: str) -> dict[int, int]:
    """Sets the class names of the data set; returns contiguous class ids by category id."""
    if "categories" not in content:
        raise KeyError(
            f"'categories': the annotation file of {dataset_name!r} has none, so that the names of"
            " its classes are unknown; COCO's format wants a list of {'id', 'name'}."
        )
    categories = sorted(content["categories"], key=lambda category: category["id"])
    ids = [category["id"] for category in categories]
    # All of COCO's own sets have gaps in their ids: worth a word only for others.
    if ids and not (min(ids) == 1 and max(ids) == len(ids)) and "coco" not in dataset_name:
        logger.warning(
            "The category ids of %s are not 1 to %d; class ids follow their order.",
            dataset_name,
            len(ids),
        )
    id_map = {number: index for index, number in enumerate(ids)}
    MetadataCatalog.get(dataset_name).set(
        thing_classes=[category["name"] for category in categories],
        thing_dataset_id_to_contiguous_id=id_map,
    )
    return id_map


def _check_annotations(annotations: list[Record], json_file: str) -> None:
    # The published "minival" files of COCO 2014 do repeat ids.
    if "minival" not in json_file:
        repeated = [
            number
            for number, count in Counter(annotation["id"] for annotation in annotations).items()
            if count > 1
        ]
        if repeated:
            raise AssertionError(
                f"Annotation ids in {json_file!r} are not unique: {repeated[:5]} occur more than"
                " once. Metrics are wrong with repeated ids; number the annotations anew."
            )
    for annotation in annotations:
        if annotation.get("ignore", 0):
            raise AssertionError(
                f"Annotation {annotation['id']} of {json_file!r} has 'ignore', which is not"
                " supported: use 'iscrowd', or remove the annotation."
            )


def _convert(
    annotation: Record, keys: Sequence[str], id_map: dict[int, int] | None
) -> Record | None:
    """The annotation of a record, or None where no polygon is valid."""
    converted = {key: annotation[key] for key in keys if key in annotation}
    if "bbox" in converted and not converted["bbox"]:
        raise ValueError(
            f"An annotation of image {annotation['image_id']} has an empty 'bbox'. This is not"
            " valid COCO format: give [x, y, width, height]."
        )
    segmentation = annotation.get("segmentation")
    if segmentation:
        segmentation = _valid_segmentation(segmentation)
        if not segmentation:
            return None
        converted["segmentation"] = segmentation
    converted["bbox_mode"] = BoxMode.XYWH_ABS
    if id_map is not None:
        if converted["category_id"] not in id_map:
            raise KeyError(
                f"category_id={converted['category_id']} of an annotation of image"
                f" {annotation['image_id']} is not in 'categories', which has {[*id_map]}."
            )
        converted["category_id"] = id_map[converted["category_id"]]
    return converted


def _valid_segmentation(segmentation: Any) -> Any:
    if not isinstance(segmentation, dict):
        return [polygon for polygon in segmentation if len(polygon) % 2 == 0 and len(polygon) >= 6]
    if isinstance(segmentation["counts"], list):
        from pycocotools import mask

        return mask.frPyObjects(segmentation, *segmentation["size"])
    return segmentation


def load_sem_seg(
    gt_root: str, image_root: str, gt_ext: str = "png", image_ext: str = "jpg"
) -> list[Record]:
    """Pairs the images of a folder with the label maps of another by their names.

    Args:
        gt_root: folder of the label maps: one 8- or 16-bit channel, a pixel is a class id.
        image_root: folder of the images.
        gt_ext, image_ext: file name extensions, without the dot.

    Returns:
        ``{"file_name", "sem_seg_file_name"}`` for each name that is in both folders, by name.
    """
    return pair_sem_seg(gt_root, image_root, gt_ext, image_ext, dataset_name=None)


def pair_sem_seg(
    gt_root: str, image_root: str, gt_ext: str, image_ext: str, *, dataset_name: str | None
) -> list[Record]:
    """Does what :func:`load_sem_seg` does, and names the data set in errors."""
    labels = _files_by_stem(gt_root, gt_ext, dataset_name)
    images = _files_by_stem(image_root, image_ext, dataset_name)
    if not labels:
        raise AssertionError(
            f"There is no label map (*.{gt_ext}) in {gt_root}. Check the folder and gt_ext."
        )
    common = sorted(labels.keys() & images.keys())
    if not len(common) == len(labels) == len(images):
        logger.warning(
            "%s and %s have %d and %d files; the %d names that are in both are used.",
            image_root,
            gt_root,
            len(images),
            len(labels),
            len(common),
        )
    logger.info("Loaded %d images with semantic segmentation from %s", len(common), image_root)
    return [{"file_name": images[stem], "sem_seg_file_name": labels[stem]} for stem in common]


def _files_by_stem(folder: str, extension: str, dataset_name: str | None) -> dict[str, str]:
    try:
        names = PathManager.ls(folder)
    except FileNotFoundError:
        raise missing_data_error(folder, dataset_name) from None
    return {
        os.path.splitext(name)[0]: os.path.join(folder, name)
        for name in names
        if name.endswith(extension)
    }


def convert_to_coco_dict(dataset_name: str) -> Record:
    """Turns a registered data set of instances into the content of a COCO annotation file.

    Class ids become the data set's own ids where its metadata has
    ``thing_dataset_id_to_contiguous_id``. An image without ``image_id`` is numbered by its place.
    Areas are those of the masks; of the boxes where there are no masks.
    """
    records = DatasetCatalog.get(dataset_name)
    metadata = MetadataCatalog.get(dataset_name)
    id_map = metadata.get("thing_dataset_id_to_contiguous_id")
    if id_map is None:
        id_map = {index: index for index in range(len(metadata.thing_classes))}
    dataset_ids = {index: number for number, index in id_map.items()}

    images: list[Record] = []
    annotations: list[Record] = []
    for place, record in enumerate(records):
        image_id = record.get("image_id", place)
        images.append(
            {
                "id": image_id,
                "width": int(record["width"]),
                "height": int(record["height"]),
                "file_name": str(record["file_name"]),
            }
        )
        for annotation in record.get("annotations", []):
            converted = {"id": len(annotations) + 1, "image_id": image_id}
            converted.update(_to_coco(annotation, dataset_ids))
            annotations.append(converted)
    return {
        "info": {
            "date_created": str(datetime.datetime.now()),
            "description": f"The data set {dataset_name} in COCO's format.",
        },
        "images": images,
        "categories": [
            {"id": dataset_ids[index], "name": name}
            for index, name in enumerate(metadata.thing_classes)
        ],
        "licenses": None,
        "annotations": annotations,
    }


def _to_coco(annotation: Record, dataset_ids: dict[int, int]) -> Record:
    given = [float(side) for side in annotation["bbox"]]
    box: Any = BoxMode.convert(given, annotation["bbox_mode"], BoxMode.XYWH_ABS)
    segmentation = annotation.get("segmentation")
    area = _segmentation_area(segmentation) if segmentation else box[2] * box[3]
    converted = {
        "bbox": [round(float(side), 3) for side in box],
        "area": float(area),
        "iscrowd": int(annotation.get("iscrowd", 0)),
        "category_id": int(dataset_ids[annotation["category_id"]]),
    }
    if segmentation:
        if isinstance(segmentation, dict) and isinstance(segmentation["counts"], bytes):
            segmentation = {**segmentation, "counts": segmentation["counts"].decode("ascii")}
        converted["segmentation"] = segmentation
    return converted


def _segmentation_area(segmentation: Any) -> float:
    """Area in pixels: of the polygons, which are taken not to overlap, or of the RLE."""
    if isinstance(segmentation, list):
        from detectron2.structures import PolygonMasks

        return PolygonMasks([segmentation]).area()[0].item()
    if isinstance(segmentation, dict):
        from pycocotools import mask

        return mask.area(segmentation).item()
    raise TypeError(
        f"A segmentation is a list of polygons or an RLE dict, not a {type(segmentation).__name__}."
    )


def convert_to_coco_json(dataset_name: str, output_file: str, allow_cached: bool = True) -> None:
    """Writes a registered data set as a COCO annotation file.

    The file appears at once and complete, so that several processes may convert at the same time.

    Args:
        dataset_name: a data set of instances.
        output_file: where to write; its folder is created.
        allow_cached: keep a file that is there already, whatever it holds.
    """
    if allow_cached and Path(output_file).exists():
        logger.warning(
            "Using the annotations converted earlier to %s. Delete the file if the data set has"
            " changed since.",
            output_file,
        )
        return
    logger.info("Converting the annotations of %s to COCO format ...", dataset_name)
    write_json(output_file, convert_to_coco_dict(dataset_name))


def register_coco_instances(
    name: str, metadata: dict[str, Any], json_file: str, image_root: str
) -> None:
    """Registers a data set of instances in COCO's format.

    Args:
        name: the name of the data set, e.g. "coco_2014_train".
        metadata: what is known about it; may be empty.
        json_file: the annotations; read when the data set is.
        image_root: the folder of the images.
    """
    for argument in (name, json_file, image_root):
        if not isinstance(argument, (str, os.PathLike)):
            raise AssertionError(f"{argument!r} is a {type(argument).__name__}, not a str or path.")
    DatasetCatalog.register(name, lambda: load_coco_json(json_file, image_root, name))
    MetadataCatalog.get(name).set(
        json_file=json_file, image_root=image_root, evaluator_type="coco", **metadata
    )


def main() -> None:
    """Reads a data set and draws it: ``python -m detectron2.data.datasets.coco``."""
    parser = argparse.ArgumentParser(description="Draw a data set in COCO's format.")
    parser.add_argument("json_file", help="the annotations")
    parser.add_argument("image_root", help="the folder of the images")
    parser.add_argument("dataset_name", help="a name whose metadata are used, or any new one")
    parser.add_argument("--output", default="coco-data-vis", help="the folder of the drawings")
    args = parser.parse_args()
    setup_logger(name="detectron2")
    records = load_coco_json(args.json_file, args.image_root, args.dataset_name)
    save_drawings(records, MetadataCatalog.get(args.dataset_name), args.output)


if __name__ == "__main__":
    main()
