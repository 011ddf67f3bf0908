"""A trained panoptic model on images of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.engine import DefaultPredictor
from seg_projects.data import declare_panoptic_datasets
from seg_projects.data.categories import OutputCategories
from seg_projects.engine.setup import CATEGORIES_FILE
from seg_projects.errors import UserError


class PanopticPrediction(NamedTuple):
    """Segments of one image."""

    ids: np.ndarray  # (H, W) int32, 0 where nothing was found
    segments: list[dict[str, Any]]  # id, category_id (of the categories), isthing, score, area


class PanopticPredictor:
    """Loads what a config and its weights say, once; then called with images."""

    def __init__(self, cfg: CfgNode) -> None:
        """Takes a config whose weights exist; see :func:`find_weights`."""
        self.categories = find_categories(cfg)
        self._predictor = DefaultPredictor(cfg)

    def __call__(self, image_rgb: np.ndarray) -> PanopticPrediction:
        """Segments an (H, W, 3) uint8 RGB image of any size."""
        outputs = self._predictor(np.ascontiguousarray(image_rgb[:, :, ::-1]))
        panoptic, segments = outputs["panoptic_seg"]
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


def find_weights(cfg: CfgNode) -> str:
    """``MODEL.WEIGHTS``, or where that is empty the last checkpoint in ``OUTPUT_DIR``.

    Raises:
        UserError: there is no such file.
    """
    if cfg.MODEL.WEIGHTS:
        weights = Path(cfg.MODEL.WEIGHTS)
    else:
        last = Path(cfg.OUTPUT_DIR) / "last_checkpoint"
        if not last.is_file():
            raise UserError(
                f"{cfg.OUTPUT_DIR} holds no checkpoint: train first, or name MODEL.WEIGHTS."
            )
        weights = last.with_name(last.read_text(encoding="utf-8").strip())
    if "://" not in str(cfg.MODEL.WEIGHTS) and not weights.is_file():
        raise UserError(f"The weights {weights} do not exist.")
    return cfg.MODEL.WEIGHTS or str(weights)


def find_categories(cfg: CfgNode) -> OutputCategories:
    """The categories beside the trained weights, else those of the data set of the config.

    Raises:
        UserError: neither is there.
    """
    beside = Path(cfg.OUTPUT_DIR) / CATEGORIES_FILE
    if beside.is_file():
        return OutputCategories.read(beside)
    declare_panoptic_datasets(cfg)
    names = [*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN]
    if not names or not hasattr(MetadataCatalog.get(names[0]), "thing_dataset_id_to_contiguous_id"):
        raise UserError(
            f"The classes are unknown: there is neither {beside} nor a data set {names[:1]}."
        )
    return OutputCategories.from_metadata(MetadataCatalog.get(names[0]))
