"""Values of single keys with which no training can work, named before anything is built."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from detectron2.config import CfgNode
from detectron2.utils import comm
from seg_projects.errors import UserError

# The least values of numbers, for a training and for everything.
LEAST_IN_TRAINING = {
    "SOLVER.IMS_PER_BATCH": 1,
    "SOLVER.MAX_ITER": 1,
    "SOLVER.CHECKPOINT_PERIOD": 1,
}
LEAST = {"DATALOADER.NUM_WORKERS": 0}
SAMPLERS = ("TrainingSampler", "RepeatFactorTrainingSampler", "RandomSubsetTrainingSampler")


def check_device(name: str) -> None:
    """Checks that torch can compute on ``MODEL.DEVICE``.

    Raises:
        UserError: there is no such device, or torch was built without it.
    """
    try:
        device = torch.device(name)
        if device.type != "cuda":  # which takes seconds to start
            torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(
            f"MODEL.DEVICE is {name!r}, which torch cannot use on this machine: take cuda, cuda:0 "
            "or cpu."
        ) from error
    present = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= present:
        raise UserError(
            f"MODEL.DEVICE is {name!r}, but this machine has {present} CUDA devices, numbered "
            "from 0: take cuda for the first one."
        )


def check_settings(cfg: CfgNode, *, eval_only: bool) -> None:
    """Checks numbers, names and the output folder; a training's own only for a training.

    Raises:
        UserError: a value is below what can work, or empty.
    """
    if not cfg.OUTPUT_DIR:
        raise UserError("OUTPUT_DIR is empty: name the folder for what a training writes.")
    _check_least(cfg, LEAST)
    if eval_only:
        return
    _check_least(cfg, LEAST_IN_TRAINING)
    if not cfg.INPUT.MIN_SIZE_TRAIN:
        raise UserError("INPUT.MIN_SIZE_TRAIN is empty: name a length in pixels such as (800,).")
    if cfg.DATALOADER.SAMPLER_TRAIN not in SAMPLERS:
        raise UserError(
            f"DATALOADER.SAMPLER_TRAIN is {cfg.DATALOADER.SAMPLER_TRAIN!r}; known: "
            f"{', '.join(SAMPLERS)}."
        )
    batch, processes = cfg.SOLVER.IMS_PER_BATCH, comm.get_world_size()
    if batch % processes:
        raise UserError(
            f"SOLVER.IMS_PER_BATCH is {batch}, which {processes} processes cannot share evenly: "
            f"take {max(1, batch // processes) * processes}."
        )


def _check_least(cfg: CfgNode, limits: Mapping[str, int]) -> None:
    for key, least in limits.items():
        value = cfg
        for part in key.split("."):
            value = value[part]
        if value < least:
            raise UserError(f"{key} is {value}: {least} is the least that works.")
