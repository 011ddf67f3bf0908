"""Configs and everything that is checked before the first iteration."""

from __future__ import annotations

import argparse
import difflib
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import yaml

import seg_projects.modeling  # noqa: F401 - registers the meta-architectures
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from seg_projects.config import add_seg_projects_config
from seg_projects.data import declare_panoptic_datasets
from seg_projects.data.categories import OutputCategories
from seg_projects.errors import UserError

CATEGORIES_FILE = "categories.json"
PANOPTIC_TYPES = ("panoptic", "coco_panoptic_seg")

logger = logging.getLogger(__name__)


def load_config(config_file: str | Path, overrides: Sequence[str] = ()) -> CfgNode:
    """The config of ``config_file`` with ``overrides`` (KEY VALUE KEY VALUE ...) applied.

    Falls back to the CPU where there is no CUDA.

    Raises:
        UserError: the file is missing or no YAML, a key is unknown, a value has another type.
    """
    path = Path(config_file)
    if not path.is_file():
        raise UserError(f"There is no config {path}; those of this project are in configs/.")
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    known = sorted(_keys(cfg))
    try:
        cfg.merge_from_file(str(path))
    except (KeyError, ValueError, AssertionError, yaml.YAMLError) as error:
        raise UserError(f"{path}: {_explain(error, known)}") from error
    if len(overrides) % 2:
        raise UserError(f"Overrides are pairs KEY VALUE; {list(overrides)} has an odd length.")
    try:
        cfg.merge_from_list(list(overrides))
    except (KeyError, ValueError, AssertionError) as error:
        raise UserError(f"On the command line: {_explain(error, known)}") from error
    _fall_back_to_cpu(cfg)
    return cfg


def _keys(node: CfgNode, prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield prefix + key
        if isinstance(value, CfgNode):
            yield from _keys(value, f"{prefix}{key}.")


def _explain(error: Exception, known: Sequence[str]) -> str:
    """``error`` in one line, and for an unknown key the nearest known one."""
    text = " ".join(str(error.args[0] if error.args else error).split())
    match = re.search(r"[Nn]on-existent (?:config )?key:? ?'?([\w.]+)", text)
    if not match:
        return text
    unknown = match[1]
    # The error from a list names the last part alone.
    candidates = (
        {k.rsplit(".", 1)[-1]: k for k in known} if "." not in unknown else {k: k for k in known}
    )
    near = difflib.get_close_matches(unknown, candidates, n=1)
    hint = f" Did you mean {candidates[near[0]]}?" if near else ""
    return f"there is no config key {unknown}.{hint}"


def _fall_back_to_cpu(cfg: CfgNode) -> None:
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        logging.getLogger("seg_projects").warning(
            "MODEL.DEVICE is %r, but there is no CUDA device: running on the CPU.", cfg.MODEL.DEVICE
        )
        cfg.MODEL.DEVICE = "cpu"


def prepare(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Declares and checks what ``cfg`` names, sets up output folder, logging and seeds.

    ``cfg`` is frozen afterwards.

    Args:
        cfg: from :func:`load_config`.
        args: with ``config_file``, ``eval_only`` and ``resume``, as ``tools/train_net.py`` has.

    Raises:
        UserError: a data set is missing or not registered, class counts disagree, the weights
            are missing, the output folder cannot be written.
    """
    declare_panoptic_datasets(cfg)
    _check_datasets(cfg, eval_only=args.eval_only)
    _check_weights(cfg)
    _check_output_dir(Path(cfg.OUTPUT_DIR))
    cfg.freeze()
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="seg_projects")
    default_setup(cfg, args)
    metadata = MetadataCatalog.get(
        cfg.DATASETS.TEST[0] if cfg.DATASETS.TEST else cfg.DATASETS.TRAIN[0]
    )
    if comm.is_main_process() and metadata.get("evaluator_type") in PANOPTIC_TYPES:
        # So that the folder is all that a prediction needs.
        OutputCategories.from_metadata(metadata).write(Path(cfg.OUTPUT_DIR) / CATEGORIES_FILE)


def _check_datasets(cfg: CfgNode, *, eval_only: bool) -> None:
    names = [*cfg.DATASETS.TEST, *(() if eval_only else cfg.DATASETS.TRAIN)]
    if not names:
        raise UserError("DATASETS.TRAIN and DATASETS.TEST are empty: name a registered data set.")
    for name in names:
        if name not in DatasetCatalog.list():
            near = difflib.get_close_matches(name, DatasetCatalog.list(), n=3, cutoff=0.3)
            raise UserError(
                f"Data set {name!r} is not registered. Near names: {', '.join(near) or 'none'}. "
                "Declare your own under DATASETS.PANOPTIC."
            )
        _check_class_counts(cfg, name)


def _check_class_counts(cfg: CfgNode, name: str) -> None:
    metadata = MetadataCatalog.get(name)
    wanted = {
        "MODEL.ROI_HEADS.NUM_CLASSES": (cfg.MODEL.ROI_HEADS.NUM_CLASSES, "thing_classes"),
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES": (cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, "stuff_classes"),
    }
    if "Panoptic" not in cfg.MODEL.META_ARCHITECTURE:
        return
    for key, (count, classes) in wanted.items():
        listed = metadata.get(classes)
        if listed is not None and count != len(listed):
            raise UserError(
                f"{key} is {count}, but data set {name!r} has {len(listed)} {classes}: set {key} "
                f"to {len(listed)}."
            )


def _check_weights(cfg: CfgNode) -> None:
    weights = cfg.MODEL.WEIGHTS
    if weights and "://" not in weights and not Path(weights).is_file():
        raise UserError(
            f'MODEL.WEIGHTS is {weights!r}, and there is no such file; "" starts from scratch.'
        )


def _check_output_dir(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"OUTPUT_DIR {path} cannot be written ({error.strerror}): choose another one."
        ) from error
