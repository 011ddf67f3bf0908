"""Configs and everything that is checked before the first iteration."""

from __future__ import annotations

import argparse
import difflib
import importlib
import logging
import os
import re
import sys
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
from seg_projects.architectures import is_kind
from seg_projects.config import add_seg_projects_config
from seg_projects.data import declare_all
from seg_projects.data.categories import output_categories
from seg_projects.data.doctor.quick import require_sound
from seg_projects.deeplab_config import check_joint_classes, needs_joint_classes
from seg_projects.engine.resumption import last_checkpoint
from seg_projects.engine.setting_checks import check_device, check_settings
from seg_projects.errors import UserError
from seg_projects.evaluation.build import PANOPTIC_TYPES
from seg_projects.modeling.losses import SIGMOID_LOSSES

CATEGORIES_FILE = "categories.json"
DESCRIBED_TYPES = (*PANOPTIC_TYPES, "label_maps", "class_masks", "instances")
# What reading and merging a config raises, depending on how it is wrong.
CONFIG_ERRORS = (
    KeyError,
    ValueError,
    AssertionError,
    TypeError,
    AttributeError,
    OSError,
    RecursionError,
    yaml.YAMLError,
)
TYPE_MISMATCH = re.compile(
    r"Type mismatch \(<class '(?P<wanted>.+?)'> vs. <class '(?P<given>.+?)'>\) "
    r"with values \(.* vs. (?P<value>.*)\) for config key: (?P<key>[\w.]+)"
)

logger = logging.getLogger(__name__)


def import_modules(names: Sequence[str]) -> None:
    """Imports modules of one's own, which register heads, backbones or data sets.

    They are found as for ``python -m``, in the current folder too. Importing runs their code: so
    they are named on the command line, by the person who runs it, and never by a config.

    Raises:
        UserError: there is no module of that name.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            # A module that is there but lacks one of its own imports shows its own stack trace.
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            raise UserError(
                f"--import {name}: there is no module {error.name!r} in the current folder, in "
                "PYTHONPATH or among the installed packages."
            ) from error


def check_gpus(wanted: int, *, machines: int = 1, rank: int = 0) -> None:
    """Checks that several processes have a device each; one process runs on the CPU too.

    Args:
        wanted: processes on this machine.
        machines: how many take part.
        rank: the number of this one, from 0.

    Raises:
        UserError: there are fewer CUDA devices, or a number is out of range.
    """
    if wanted < 0 or machines < 1:
        raise UserError(
            f"--num-gpus is {wanted}, --num-machines is {machines}: 1 is the least, and trains on "
            "the CPU too."
        )
    if not 0 <= rank < machines:
        raise UserError(
            f"--machine-rank is {rank}, but --num-machines is {machines}: ranks are 0 to "
            f"{machines - 1}."
        )
    present = torch.cuda.device_count()
    if wanted > max(1, present):
        remedy = f"take {present} at most" if present else "leave it out to train on the CPU"
        raise UserError(
            f"--num-gpus is {wanted}, but this machine has {present} CUDA devices: {remedy}."
        )


def load_config(config_file: str | Path, overrides: Sequence[str] = ()) -> CfgNode:
    """The config of ``config_file`` with ``overrides`` (KEY VALUE KEY VALUE ...) applied.

    Nothing in the file is executed. Falls back to the CPU where there is no CUDA.

    Raises:
        UserError: the file is missing or no YAML, a key is unknown, a value has another type,
            there is no such device.
    """
    path = Path(config_file)
    if not path.is_file():
        raise UserError(f"There is no config {path}; those of this project are in configs/.")
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    known = sorted(_keys(cfg))
    try:
        # Detectron2's default would execute what YAML's python tags say.
        cfg.merge_from_file(str(path), allow_unsafe=False)
    except CONFIG_ERRORS as error:
        raise UserError(f"{path}: {_explain(error, known).removeprefix(f'{path}: ')}") from error
    _check_pairs(overrides)
    try:
        cfg.merge_from_list(list(overrides))
    except CONFIG_ERRORS as error:
        raise UserError(f"On the command line: {_explain(error, known)}") from error
    _fall_back_to_cpu(cfg)
    check_device(cfg.MODEL.DEVICE)
    return cfg


def _check_pairs(overrides: Sequence[str]) -> None:
    if flags := [text for text in overrides[::2] if text.startswith("--")]:
        raise UserError(f"{flags[0]} stands among the overrides KEY VALUE: put it before them.")
    if len(overrides) % 2:
        raise UserError(f"Overrides are pairs KEY VALUE; {list(overrides)} has an odd length.")


def _keys(node: CfgNode, prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield prefix + key
        if isinstance(value, CfgNode):
            yield from _keys(value, f"{prefix}{key}.")


def _explain(error: Exception, known: Sequence[str]) -> str:
    """``error`` in one line, and for an unknown key the nearest known one."""
    if isinstance(error, FileNotFoundError):
        return f"_BASE_ names {error.filename}, which does not exist."
    if isinstance(error, RecursionError):
        return "_BASE_ leads back to the file itself."
    if isinstance(error, TypeError | AttributeError):
        return 'its content is no tree of "KEY: VALUE" lines.'
    text = " ".join(str(error.args[0] if isinstance(error, KeyError) else error).split())
    if match := re.search(r"[Nn]on-existent (?:config )?key:? ?'?([\w.]+)", text):
        return _explain_unknown_key(match[1].rstrip("."), known)
    if match := TYPE_MISMATCH.search(text):
        return _explain_type(**match.groupdict())
    return text


def _explain_unknown_key(unknown: str, known: Sequence[str]) -> str:
    # The error from a list names the last part alone.
    candidates = (
        {k.rsplit(".", 1)[-1]: k for k in known} if "." not in unknown else {k: k for k in known}
    )
    near = difflib.get_close_matches(unknown, candidates, n=1)
    hint = f" Did you mean {candidates[near[0]]}?" if near else ""
    return f"there is no config key {unknown}.{hint}"


def _explain_type(wanted: str, given: str, value: str, key: str) -> str:
    if wanted.endswith("CfgNode"):
        return f"{key} is a group of keys, not one value."
    examples = {
        "tuple": " such as (3,) or ('name',)",
        "float": " such as 1.0",
        "list": " such as [3]",
    }
    found = "a group of keys" if given.endswith("CfgNode") else f"{value} ({given})"
    return f"{key} takes a value of type {wanted}{examples.get(wanted, '')}, not {found}."


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
        UserError: a data set is missing, not registered or has errors, class counts disagree, the
            weights or the checkpoint to go on from are missing, a number is out of range, the
            output folder cannot be written.
    """
    if cfg.MODEL.DEVICE == "cpu":
        # Weights of classes that never occur have vanishing gradients, and arithmetic on denormal
        # numbers made an iteration five times slower. Threads inherit it, hence before the first.
        torch.set_flush_denormal(True)
    check_settings(cfg, eval_only=args.eval_only)
    declare_datasets(cfg, eval_only=args.eval_only)
    _check_weights(cfg, eval_only=args.eval_only, resume=args.resume)
    if cfg.DATASETS.CHECK:
        names = [*(() if args.eval_only else cfg.DATASETS.TRAIN), *cfg.DATASETS.TEST]
        _check_soundness(list(dict.fromkeys(names)))
    _check_output_dir(Path(cfg.OUTPUT_DIR))
    cfg.freeze()
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="seg_projects")
    default_setup(cfg, args)
    metadata = MetadataCatalog.get(
        cfg.DATASETS.TEST[0] if cfg.DATASETS.TEST else cfg.DATASETS.TRAIN[0]
    )
    if comm.is_main_process() and metadata.get("evaluator_type") in DESCRIBED_TYPES:
        # So that the folder is all that a prediction needs.
        output_categories(metadata).write(Path(cfg.OUTPUT_DIR) / CATEGORIES_FILE)


def declare_datasets(cfg: CfgNode, *, eval_only: bool = False) -> None:
    """Registers the data sets that ``cfg`` declares and checks those that it names.

    Raises:
        UserError: a data set is missing or not registered, or class counts disagree.
    """
    declare_all(cfg)
    _check_datasets(cfg, eval_only=eval_only)


def _check_datasets(cfg: CfgNode, *, eval_only: bool) -> None:
    needed = "TEST" if eval_only else "TRAIN"
    if not cfg.DATASETS[needed]:
        raise UserError(f"DATASETS.{needed} is empty: name a registered data set.")
    for name in [*cfg.DATASETS.TEST, *(() if eval_only else cfg.DATASETS.TRAIN)]:
        if name not in DatasetCatalog.list():
            near = difflib.get_close_matches(name, DatasetCatalog.list(), n=3, cutoff=0.3)
            raise UserError(
                f"Data set {name!r} is not registered. Near names: {', '.join(near) or 'none'}. "
                "Declare your own under DATASETS.PANOPTIC, SEMANTIC, CLASS_MASKS, INSTANCES or "
                "INSTANCE_MASKS."
            )
        _check_class_counts(cfg, name)
        if MetadataCatalog.get(name).get("evaluator_type") == "class_masks":
            _check_questions(cfg, name)


def _check_questions(cfg: CfgNode, name: str) -> None:
    """Checks that a pixel may have several of the model's classes, as it may in the data."""
    if not is_kind(cfg, "Semantic"):
        raise UserError(
            f"Data set {name!r} has masks of classes, which MODEL.META_ARCHITECTURE "
            f"{cfg.MODEL.META_ARCHITECTURE} does not take: SegSemanticSegmentor does."
        )
    losses = [entry[0] for entry in cfg.MODEL.SEM_SEG_HEAD.LOSSES if entry]
    of_one = [name for name in losses if name not in SIGMOID_LOSSES]
    if of_one:
        raise UserError(
            f"MODEL.SEM_SEG_HEAD.LOSSES has {of_one[0]}, which gives each pixel one class, and in "
            f"data set {name!r} it may have several: take [[sigmoid_cross_entropy, 1.0]], "
            "sigmoid_dice, sigmoid_focal, lovasz_hinge, ..."
        )


def _check_class_counts(cfg: CfgNode, name: str) -> None:
    metadata = MetadataCatalog.get(name)
    wanted = {
        "MODEL.ROI_HEADS.NUM_CLASSES": (cfg.MODEL.ROI_HEADS.NUM_CLASSES, "thing_classes"),
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES": (cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, "stuff_classes"),
    }
    if needs_joint_classes(cfg):
        check_joint_classes(metadata)
    if is_kind(cfg, "Semantic") or needs_joint_classes(cfg):
        del wanted["MODEL.ROI_HEADS.NUM_CLASSES"]
    elif is_kind(cfg, "RCNN") and not is_kind(cfg, "Panoptic"):
        del wanted["MODEL.SEM_SEG_HEAD.NUM_CLASSES"]
    elif not is_kind(cfg, "Panoptic"):
        return
    for key, (count, classes) in wanted.items():
        listed = metadata.get(classes)
        if listed is not None and count != len(listed):
            raise UserError(
                f"{key} is {count}, but data set {name!r} has {len(listed)} {classes}: set {key} "
                f"to {len(listed)}."
            )


def _check_soundness(names: Sequence[str]) -> None:
    """The main process looks at the data sets; the others wait, and stop where it stops.

    Raises:
        UserError: a data set has errors.
    """
    error: Exception | None = None
    if comm.is_main_process():
        try:
            for name in names:
                require_sound(name)
        except Exception as found:  # whatever it is, nobody shall wait for it
            error = found
    text = comm.all_gather(None if error is None else str(error))[0]
    if error is not None:
        raise error
    if text is not None:
        raise UserError(text)


def _check_weights(cfg: CfgNode, *, eval_only: bool, resume: bool) -> None:
    if resume and last_checkpoint(Path(cfg.OUTPUT_DIR)) is not None:
        return
    weights = cfg.MODEL.WEIGHTS
    if resume and not eval_only and comm.is_main_process():
        logger.warning(
            "--resume: %s holds no checkpoint; the training starts at its first iteration.",
            cfg.OUTPUT_DIR,
        )
    if eval_only and not weights:
        raise UserError(
            "--eval-only needs weights, and MODEL.WEIGHTS is empty: name them, or add --resume for "
            f"the last checkpoint in {cfg.OUTPUT_DIR}."
        )
    # A query may follow the path: ?matching_heuristics=True.
    if weights and "://" not in weights and not Path(weights.partition("?")[0]).is_file():
        raise UserError(
            f'MODEL.WEIGHTS is {weights!r}, and there is no such file; "" starts from scratch.'
        )


def _check_output_dir(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        # Another process may have been faster.
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"OUTPUT_DIR {path} cannot be written ({error.strerror}): choose another one."
        ) from error
