"""A trained panoptic model on images of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from seg_projects.architectures import is_kind
from seg_projects.data.categories import OutputCategories
from seg_projects.data.datasets.panoptic import IGNORE_LABEL
from seg_projects.deeplab_config import needs_joint_classes
from seg_projects.engine.image_model import ImageModel
from seg_projects.engine.model_categories import check_num_classes, model_categories
from seg_projects.engine.resumption import noted_checkpoint
from seg_projects.errors import UserError


class PanopticPrediction(NamedTuple):
    """Segments of one image."""

    ids: np.ndarray  # (H, W) int32, 0 where nothing was found
    segments: list[dict[str, Any]]  # id, category_id (of the categories), isthing, score, area


class PanopticPredictor:
    """Loads what a config and its weights say, once; then called with images."""

    def __init__(self, cfg: CfgNode) -> None:
        """Takes a config whose weights exist; see :func:`find_weights`."""
        if not is_kind(cfg, "Panoptic"):
            raise UserError(
                f"MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE!r}; a panoptic "
                "prediction needs a panoptic model such as SegPanopticFPN."
            )
        self.categories = find_categories(cfg)
        _describe_training_set(cfg, self.categories)
        self._model = ImageModel(cfg)

    def __call__(self, image_rgb: np.ndarray) -> PanopticPrediction:
        """Segments an (H, W, 3) RGB image of any size, uint8 or float32 in [0, 255]."""
        outputs = self._model(image_rgb)
        panoptic, segments = self.categories.described(*outputs["panoptic_seg"])
        ids = panoptic.cpu().numpy()
        areas = np.bincount(ids.ravel(), minlength=len(segments) + 1)
        found = [
            {
                "id": s["id"],
                "category_id": category,
                "isthing": bool(s["isthing"]),
                "area": int(areas[s["id"]]),
                **({"score": s["score"]} if "score" in s else {}),
            }
            for s, category in zip(segments, self.categories.category_ids(segments), strict=True)
        ]
        return PanopticPrediction(ids, found)


def find_weights(cfg: CfgNode, overrides: Sequence[str] = ()) -> str:
    """The weights that a run stands for.

    They are ``MODEL.WEIGHTS`` where ``overrides`` (KEY VALUE ...) name it, else the last checkpoint
    in ``OUTPUT_DIR``, else ``MODEL.WEIGHTS`` of the config: in a trained run that one is what the
    training started from.

    Raises:
        UserError: there is no such file.
    """
    last = noted_checkpoint(Path(cfg.OUTPUT_DIR))
    if last is not None and "MODEL.WEIGHTS" not in overrides[::2]:
        weights = str(last)
    elif cfg.MODEL.WEIGHTS:
        weights = cfg.MODEL.WEIGHTS
    else:
        raise UserError(
            f"{cfg.OUTPUT_DIR} holds no checkpoint: train first, or name MODEL.WEIGHTS."
        )
    if "://" not in weights and not Path(weights).is_file():
        raise UserError(f"The weights {weights} do not exist.")
    return weights


def find_categories(cfg: CfgNode) -> OutputCategories:
    """The categories beside the weights or in ``OUTPUT_DIR``, else those of the config's data set.

    Raises:
        UserError: none of them is there, or they are not as many as the model has classes.
    """
    categories = model_categories(cfg)
    listed = {"SEM_SEG_HEAD": categories.num_semantic_classes}
    if not needs_joint_classes(cfg):
        listed["ROI_HEADS"] = len(categories.thing_ids)
    check_num_classes(cfg, listed)
    return categories


def _describe_training_set(cfg: CfgNode, categories: OutputCategories) -> None:
    """Puts into the metadata what Panoptic-DeepLab asks for when it is built.

    A prediction has the categories of its folder, and perhaps no data set.
    """
    if not needs_joint_classes(cfg) or not cfg.DATASETS.TRAIN:
        return
    metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
    if not hasattr(metadata, "thing_dataset_id_to_contiguous_id"):
        metadata.set(
            thing_dataset_id_to_contiguous_id=categories.thing_ids,
            stuff_dataset_id_to_contiguous_id=categories.stuff_ids,
            label_divisor=categories.label_divisor,
            ignore_label=IGNORE_LABEL,
        )
