"""The categories of a trained model: those that its training left, else those of its data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from seg_projects.data import declare_all
from seg_projects.data.categories import OutputCategories, output_categories
from seg_projects.engine.setup import CATEGORIES_FILE
from seg_projects.errors import UserError


def model_categories(cfg: CfgNode) -> OutputCategories:
    """The categories beside the weights or in ``OUTPUT_DIR``, else those of the config's data set.

    Raises:
        UserError: none of them is there.
    """
    folders = (Path(cfg.MODEL.WEIGHTS).parent, Path(cfg.OUTPUT_DIR))
    for path in (folder / CATEGORIES_FILE for folder in folders):
        if path.is_file():
            return OutputCategories.read(path)
    declare_all(cfg)
    names = [*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN][:1]
    if not names or names[0] not in DatasetCatalog.list():
        raise UserError(
            f"The classes are unknown: neither {Path(cfg.OUTPUT_DIR) / CATEGORIES_FILE} nor a "
            f"data set {names} names them."
        )
    metadata = MetadataCatalog.get(names[0])
    if not (metadata.get("thing_classes") or metadata.get("stuff_classes")):
        # Detectron2 reads the classes of a COCO file with its records.
        DatasetCatalog.get(names[0])
    return output_categories(metadata)


def check_num_classes(cfg: CfgNode, listed: Mapping[str, int]) -> None:
    """Checks ``cfg.MODEL[group].NUM_CLASSES`` of each group against the model's categories.

    Raises:
        UserError: they are not as many.
    """
    for group, wanted in listed.items():
        count = cfg.MODEL[group].NUM_CLASSES
        if count != wanted:
            raise UserError(
                f"MODEL.{group}.NUM_CLASSES is {count}, but the model's categories are {wanted}."
            )
