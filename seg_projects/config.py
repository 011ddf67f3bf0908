"""Every config key that `seg_projects` adds to Detectron2's defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detectron2.config import CfgNode


def add_seg_projects_config(cfg: CfgNode) -> None:
    """Adds our keys with their defaults to ``cfg``, in place."""
    # Folder that relative paths of declared data sets start from; "" means the environment
    # variable DETECTRON2_DATASETS, or ./datasets where that is not set.
    cfg.DATASETS.ROOT = ""
    # Data sets declared in the config alone, COCO panoptic format. Each entry is a dict with
    #   NAME            the name for DATASETS.TRAIN / DATASETS.TEST
    #   IMAGES          folder of the images
    #   PANOPTIC_JSON   COCO panoptic JSON; its `categories` give names, things and stuff
    #   PANOPTIC_MASKS  folder of the id PNGs
    #   INSTANCES_JSON  optional COCO instances JSON, the ground truth of AP; without it the
    #                   thing segments of the PNGs are
    #   IMAGE_IDS       optional list: only these images
    cfg.DATASETS.PANOPTIC = []

    # "SGD" (Detectron2's), "ADAM" or "ADAMW"; all use SOLVER's learning rate and weight decay.
    cfg.SOLVER.OPTIMIZER = "SGD"

    # DeepLab's and Panoptic-DeepLab's keys; SOLVER.OPTIMIZER above is the one they know too.
    from seg_projects.deeplab_config import add_deeplab_keys, add_panoptic_deeplab_keys

    add_deeplab_keys(cfg)
    add_panoptic_deeplab_keys(cfg)
