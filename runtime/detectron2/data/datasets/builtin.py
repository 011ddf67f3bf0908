"""Registration of the built-in data sets under ``$DETECTRON2_DATASETS`` (default: ./datasets).

Importing this module registers them. Their files are looked for only when a data set is loaded.
"""

from __future__ import annotations

import os

from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.builtin_meta import (
    ADE20K_SEM_SEG_CATEGORIES,
    CITYSCAPES_CATEGORIES,
    coco_instances_metadata,
    coco_panoptic_metadata,
    coco_separated_metadata,
)
from detectron2.data.datasets.cityscapes import load_cityscapes_instances, load_cityscapes_semantic
from detectron2.data.datasets.cityscapes_panoptic import register_all_cityscapes_panoptic
from detectron2.data.datasets.coco import pair_sem_seg, register_coco_instances
from detectron2.data.datasets.coco_panoptic import (
    IGNORE_LABEL,
    register_coco_panoptic,
    register_coco_panoptic_separated,
)
from detectron2.data.datasets.pascal_voc import register_pascal_voc

# name -> (folder of the images, annotation file), relative to the root.
COCO_INSTANCES = {
    "coco_2014_train": ("coco/train2014", "coco/annotations/instances_train2014.json"),
    "coco_2014_val": ("coco/val2014", "coco/annotations/instances_val2014.json"),
    "coco_2014_minival": ("coco/val2014", "coco/annotations/instances_minival2014.json"),
    "coco_2014_valminusminival": (
        "coco/val2014",
        "coco/annotations/instances_valminusminival2014.json",
    ),
    "coco_2017_train": ("coco/train2017", "coco/annotations/instances_train2017.json"),
    "coco_2017_val": ("coco/val2017", "coco/annotations/instances_val2017.json"),
    "coco_2017_test": ("coco/test2017", "coco/annotations/image_info_test2017.json"),
    "coco_2017_test-dev": ("coco/test2017", "coco/annotations/image_info_test-dev2017.json"),
    "coco_2017_val_100": ("coco/val2017", "coco/annotations/instances_val2017_100.json"),
}

# name -> the split in the names of the panoptic and semantic files; the data set of instances.
COCO_PANOPTIC = {
    "coco_2017_train_panoptic": ("train2017", "coco_2017_train"),
    "coco_2017_val_panoptic": ("val2017", "coco_2017_val"),
    "coco_2017_val_100_panoptic": ("val2017_100", "coco_2017_val_100"),
}

VOC_SPLITS = {2007: ("trainval", "train", "val", "test"), 2012: ("trainval", "train", "val")}


def register_all_coco(root: str) -> None:
    """Registers COCO: instances of 2014 and 2017, and panoptic segmentation of 2017."""
    for name, (images, json_file) in COCO_INSTANCES.items():
        register_coco_instances(
            name,
            coco_instances_metadata(),
            os.path.join(root, json_file),
            os.path.join(root, images),
        )
    for name, (split, instances) in COCO_PANOPTIC.items():
        image_root, instances_json = (
            os.path.join(root, part) for part in COCO_INSTANCES[instances]
        )
        panoptic_root = os.path.join(root, f"coco/panoptic_{split}")
        panoptic_json = os.path.join(root, f"coco/annotations/panoptic_{split}.json")
        register_coco_panoptic_separated(
            name,
            coco_separated_metadata(),
            image_root,
            panoptic_root,
            panoptic_json,
            os.path.join(root, f"coco/panoptic_stuff_{split}"),
            instances_json,
        )
        register_coco_panoptic(
            name,
            coco_panoptic_metadata(),
            image_root,
            panoptic_root,
            panoptic_json,
            instances_json,
        )


def register_all_cityscapes(root: str) -> None:
    """Registers the fine annotations of Cityscapes: instances and semantic segmentation."""
    names = [category["name"] for category in CITYSCAPES_CATEGORIES]
    things = [category["name"] for category in CITYSCAPES_CATEGORIES if category["isthing"]]
    for split in ("train", "val", "test"):
        image_dir = os.path.join(root, f"cityscapes/leftImg8bit/{split}/")
        gt_dir = os.path.join(root, f"cityscapes/gtFine/{split}/")

        def load_instances(image_dir: str = image_dir, gt_dir: str = gt_dir) -> list[dict]:
            return load_cityscapes_instances(image_dir, gt_dir, from_json=True, to_polygons=True)

        def load_semantic(image_dir: str = image_dir, gt_dir: str = gt_dir) -> list[dict]:
            return load_cityscapes_semantic(image_dir, gt_dir)

        instances = f"cityscapes_fine_instance_seg_{split}"
        DatasetCatalog.register(instances, load_instances)
        MetadataCatalog.get(instances).set(
            image_dir=image_dir,
            gt_dir=gt_dir,
            evaluator_type="cityscapes_instance",
            thing_classes=[*things],
            stuff_classes=[*names],
        )
        semantic = f"cityscapes_fine_sem_seg_{split}"
        DatasetCatalog.register(semantic, load_semantic)
        MetadataCatalog.get(semantic).set(
            image_dir=image_dir,
            gt_dir=gt_dir,
            evaluator_type="cityscapes_sem_seg",
            ignore_label=IGNORE_LABEL,
            thing_classes=[*things],
            stuff_classes=[*names],
        )


def register_all_ade20k(root: str) -> None:
    """Registers the 150 classes of ADE20K's scene parsing challenge."""
    for split, folder in (("train", "training"), ("val", "validation")):
        image_dir = os.path.join(root, "ADEChallengeData2016", "images", folder)
        gt_dir = os.path.join(root, "ADEChallengeData2016", "annotations_detectron2", folder)
        name = f"ade20k_sem_seg_{split}"

        def load(name: str = name, gt: str = gt_dir, images: str = image_dir) -> list[dict]:
            return pair_sem_seg(gt, images, "png", "jpg", dataset_name=name)

        DatasetCatalog.register(name, load)
        MetadataCatalog.get(name).set(
            stuff_classes=[*ADE20K_SEM_SEG_CATEGORIES],
            image_root=image_dir,
            sem_seg_root=gt_dir,
            evaluator_type="sem_seg",
            ignore_label=IGNORE_LABEL,
        )


def register_all_pascal_voc(root: str) -> None:
    """Registers the splits of PASCAL VOC 2007 and 2012."""
    for year, splits in VOC_SPLITS.items():
        for split in splits:
            name = f"voc_{year}_{split}"
            register_pascal_voc(name, os.path.join(root, f"VOC{year}"), split, year)
            MetadataCatalog.get(name).evaluator_type = "pascal_voc"


_root = os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets"))
register_all_coco(_root)
register_all_cityscapes(_root)
register_all_cityscapes_panoptic(_root)
register_all_pascal_voc(_root)
register_all_ade20k(_root)
