"""Cityscapes' panoptic annotations, in COCO's panoptic format."""

from __future__ import annotations

import logging
import os
from typing import Any

from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.annotation_files import read_json
from detectron2.data.datasets.builtin_meta import cityscapes_panoptic_metadata
from detectron2.data.datasets.cityscapes import IMAGE_SUFFIX, cityscapes_files
from detectron2.utils.file_io import PathManager

logger = logging.getLogger(__name__)

Record = dict[str, Any]
HOW_TO_MAKE = (
    "The package cityscapesScripts makes it: python cityscapesscripts/preparation/"
    "createPanopticImgs.py"
)


def get_cityscapes_panoptic_files(
    image_dir: str, gt_dir: str, json_info: Record
) -> list[tuple[str, str, list[Record]]]:
    """Joins the annotations with their images.

    Args:
        image_dir: e.g. "cityscapes/leftImg8bit/train".
        gt_dir: the PNG files, e.g. "cityscapes/gtFine/cityscapes_panoptic_train".
        json_info: the content of the JSON file.

    Returns:
        (image, PNG, ``segments_info``) of each annotation, in the order of the file.
    """
    images = {
        os.path.basename(image).removesuffix(f"_{IMAGE_SUFFIX}"): image
        for image, _ in cityscapes_files(image_dir, gt_dir)
    }
    files = []
    for annotation in json_info["annotations"]:
        image = images.get(annotation["image_id"])
        if image is None:
            raise AssertionError(
                f"There is no image for the annotation {annotation['image_id']!r} in {image_dir}."
            )
        label = os.path.join(gt_dir, annotation["file_name"])
        if not PathManager.isfile(label):
            raise AssertionError(f"{label} does not exist. {HOW_TO_MAKE}")
        files.append((image, label, annotation["segments_info"]))
    if not files:
        raise AssertionError(f"No annotations for the images in {image_dir}.")
    return files


def load_cityscapes_panoptic(
    image_dir: str, gt_dir: str, gt_json: str, meta: dict[str, Any]
) -> list[Record]:
    """Reads the panoptic annotations of a split.

    Args:
        image_dir: e.g. "cityscapes/leftImg8bit/train".
        gt_dir: e.g. "cityscapes/gtFine/cityscapes_panoptic_train".
        gt_json: e.g. "cityscapes/gtFine/cityscapes_panoptic_train.json".
        meta: ``thing_dataset_id_to_contiguous_id`` and ``stuff_dataset_id_to_contiguous_id``.

    Returns:
        Records in the style of COCO panoptic segmentation: ``file_name``, ``image_id``,
        ``sem_seg_file_name`` (train ids), ``pan_seg_file_name`` and ``segments_info`` with
        contiguous class ids.
    """
    if not PathManager.isfile(gt_json):
        raise AssertionError(
            f"{gt_json} does not exist. {HOW_TO_MAKE}\nThe built-in data sets are looked for under"
            " $DETECTRON2_DATASETS."
        )
    class_ids = {
        **meta["thing_dataset_id_to_contiguous_id"],
        **meta["stuff_dataset_id_to_contiguous_id"],
    }
    records = []
    for image, label, segments in get_cityscapes_panoptic_files(
        image_dir, gt_dir, read_json(gt_json)
    ):
        semantic = (
            image.replace("leftImg8bit", "gtFine").removesuffix(".png") + "_labelTrainIds.png"
        )
        records.append(
            {
                "file_name": image,
                "image_id": os.path.basename(image).removesuffix(f"_{IMAGE_SUFFIX}"),
                "sem_seg_file_name": semantic,
                "pan_seg_file_name": label,
                "segments_info": [
                    {**segment, "category_id": class_ids[segment["category_id"]]}
                    for segment in segments
                ],
            }
        )
    first = records[0]["sem_seg_file_name"]
    if not PathManager.isfile(first):
        raise AssertionError(
            f"{first} does not exist. The package cityscapesScripts makes it: python"
            " cityscapesscripts/preparation/createTrainIdLabelImgs.py"
        )
    return records


def register_all_cityscapes_panoptic(root: str) -> None:
    """Registers the training and validation splits of Cityscapes panoptic segmentation."""
    metadata = cityscapes_panoptic_metadata()
    for split in ("train", "val"):
        name = f"cityscapes_fine_panoptic_{split}"
        image_dir = os.path.join(root, f"cityscapes/leftImg8bit/{split}")
        panoptic_root = os.path.join(root, f"cityscapes/gtFine/cityscapes_panoptic_{split}")
        panoptic_json = f"{panoptic_root}.json"

        def load(images: str = image_dir, panoptic: str = panoptic_root) -> list[Record]:
            return load_cityscapes_panoptic(images, panoptic, f"{panoptic}.json", metadata)

        DatasetCatalog.register(name, load)
        MetadataCatalog.get(name).set(
            panoptic_root=panoptic_root,
            image_root=image_dir,
            panoptic_json=panoptic_json,
            gt_dir=os.path.join(root, f"cityscapes/gtFine/{split}"),
            evaluator_type="cityscapes_panoptic_seg",
            ignore_label=255,
            label_divisor=1000,
            **metadata,
        )
