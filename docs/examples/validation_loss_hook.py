"""A hook that measures the loss on held-out data every few iterations.

The program draws a small semantic data set, registers it, trains a semantic FPN from random weights
and writes ``validation_loss`` with the other scalars, to ``metrics.json`` and to TensorBoard:

    python docs/examples/validation_loss_hook.py --output output/validation_loss
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from detectron2 import model_zoo
from detectron2.config import CfgNode
from detectron2.data import (
    DatasetCatalog,
    DatasetMapper,
    MetadataCatalog,
    build_detection_test_loader,
)
from detectron2.engine import DefaultTrainer, HookBase, default_setup
from detectron2.utils import comm

CLASSES = ("ground", "disk", "square")
IMAGE_SIZE = 56


def draw_dataset(folder: Path, count: int, seed: int) -> None:
    """Draws ``count`` images of a disk and a square, with their label maps."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE]
    for index in range(count):
        cy, cx, top, left = generator.integers(12, 36, size=4)
        labels = np.zeros((IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
        labels[(y - cy) ** 2 + (x - cx) ** 2 < 12**2] = 1
        labels[top : top + 16, left : left + 16] = 2
        labels[:2] = 255  # a border without a label
        image = 80 + 50 * (labels.astype(np.int64) % 3) + generator.integers(0, 30, labels.shape)
        Image.fromarray(image.astype(np.uint8)).convert("RGB").save(folder / f"{index:03d}.jpg")
        Image.fromarray(labels).save(folder / f"{index:03d}.png")


def load_records(folder: Path) -> list[dict[str, Any]]:
    """The standard records of a folder that ``draw_dataset`` wrote."""
    return [
        {
            "file_name": str(path),
            "image_id": path.stem,
            "height": IMAGE_SIZE,
            "width": IMAGE_SIZE,
            "sem_seg_file_name": str(path.with_suffix(".png")),
        }
        for path in sorted(folder.glob("*.jpg"))
    ]


class ValidationLoss(HookBase):
    """Puts the mean losses over ``loader`` into the storage every ``period`` iterations."""

    def __init__(self, period: int, loader: Iterable[list[dict[str, Any]]]) -> None:
        self.period, self.loader = period, loader

    def after_step(self) -> None:
        """Evaluates when a period, or the training, is complete."""
        iteration = self.trainer.iter + 1
        if iteration % self.period == 0 or iteration == self.trainer.max_iter:
            losses = self.mean_losses()
            self.trainer.storage.put_scalar("validation_loss", sum(losses.values()))
            self.trainer.storage.put_scalars(
                **{f"validation/{name}": value for name, value in losses.items()},
                smoothing_hint=False,
            )
            comm.synchronize()

    def mean_losses(self) -> dict[str, float]:
        """Each loss of the model, averaged over the batches; the model stays in training mode."""
        batches: list[dict[str, float]] = []
        with torch.no_grad():
            for batch in self.loader:
                losses = self.trainer.model(batch)
                batches.append({name: loss.item() for name, loss in losses.items()})
        return {name: float(np.mean([batch[name] for batch in batches])) for name in batches[0]}


class Trainer(DefaultTrainer):
    """The default trainer with the hook above."""

    def build_hooks(self) -> list[HookBase]:
        """Places the hook in front of the writers, which come last."""
        hooks = super().build_hooks()
        mapper = DatasetMapper(self.cfg, is_train=True, augmentations=[])
        loader = build_detection_test_loader(
            self.cfg, self.cfg.DATASETS.TEST[0], mapper=mapper, batch_size=2
        )
        hooks.insert(-1, ValidationLoss(self.cfg.TEST.EVAL_PERIOD, loader))
        return hooks

    @classmethod
    def test(cls, cfg: CfgNode, model: torch.nn.Module, evaluators: Any = None) -> dict[str, Any]:
        """No metrics: this program looks at the loss alone."""
        return {}


def build_config(output: Path, iterations: int) -> CfgNode:
    """A semantic FPN small enough to train on a CPU in seconds."""
    cfg = model_zoo.get_config("Misc/semantic_R_50_FPN_1x.yaml")
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.RESNETS.DEPTH = 18
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.FPN.OUT_CHANNELS = 32
    cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM = 32
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = len(CLASSES)
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (56, 64), 128
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("regions_train",), ("regions_val",)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.SOLVER.BASE_LR = 0.01
    cfg.SOLVER.MAX_ITER = iterations
    cfg.SOLVER.STEPS = ()
    cfg.SOLVER.WARMUP_ITERS = 4
    cfg.TEST.EVAL_PERIOD = 5
    cfg.SEED = 5
    cfg.OUTPUT_DIR = str(output)
    return cfg


def main(output: Path, iterations: int = 12) -> dict[str, list[float]]:
    """Trains; returns the losses, and what the hook left in ``metrics.json``."""
    for split, count, seed in (("train", 8, 1), ("val", 4, 2)):
        draw_dataset(output / split, count, seed)
        DatasetCatalog.register(f"regions_{split}", partial(load_records, output / split))
        MetadataCatalog.get(f"regions_{split}").set(stuff_classes=list(CLASSES), ignore_label=255)
    cfg = build_config(output, iterations)
    default_setup(cfg, argparse.Namespace())
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    storage = trainer.storage
    lines = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    return {
        "total_loss": [value for value, _ in storage.history("total_loss").values()],
        "validation_loss": [value for value, _ in storage.history("validation_loss").values()],
        "validation_iteration": [at for _, at in storage.history("validation_loss").values()],
        "written": [line["validation_loss"] for line in lines if "validation_loss" in line],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--output", type=Path, default=Path("output/validation_loss"))
    parser.add_argument("--iterations", type=int, default=12)
    arguments = parser.parse_args()
    for name, values in main(arguments.output, arguments.iterations).items():
        print(name, *(f"{value:.5g}" for value in values))
