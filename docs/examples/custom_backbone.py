"""A backbone and region heads of one's own, registered and selected by a config.

``StridedPyramid`` is a backbone of plain convolutions. ``QualityROIHeads`` predicts, beside class
and box, how well each region covers its object and multiplies the detections' scores by it. The
program trains a detector of both on random rectangles for a few iterations:

    python docs/examples/custom_backbone.py --output output/custom_backbone
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectron2.config import CfgNode, configurable, get_cfg
from detectron2.engine import SimpleTrainer, default_setup, hooks
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY, ROI_HEADS_REGISTRY, Backbone, build_model
from detectron2.modeling.roi_heads import StandardROIHeads
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.structures import Boxes, ImageList, Instances, pairwise_iou

IMAGE_SIZE = 64


def add_example_config(cfg: CfgNode) -> None:
    """Adds the keys that the two classes below read."""
    cfg.MODEL.STRIDED_PYRAMID = CfgNode({"CHANNELS": [8, 16, 24], "NORM": "GN"})
    cfg.MODEL.ROI_QUALITY_HEAD = CfgNode({"DIM": 16, "LOSS_WEIGHT": 0.5})


@BACKBONE_REGISTRY.register()
class StridedPyramid(Backbone):
    """Convolutions of stride 2; the k-th gives the map ``s<2**k>`` of stride 2**k."""

    @configurable
    def __init__(self, in_channels: int, *, channels: list[int], norm: str) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for out_channels in channels:
            layer = Conv2d(
                in_channels,
                out_channels,
                kernel_size=3,
                stride=2,
                padding=1,
                norm=nn.GroupNorm(4, out_channels)
                if norm == "GN"
                else get_norm(norm, out_channels),
                activation=F.relu,
            )
            self.stages.append(layer)
            in_channels = out_channels
        self._out_features = [f"s{2**k}" for k in range(1, len(channels) + 1)]
        self._out_feature_strides = {f"s{2**k}": 2**k for k in range(1, len(channels) + 1)}
        self._out_feature_channels = dict(zip(self._out_features, channels, strict=True))

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Reads ``MODEL.STRIDED_PYRAMID``."""
        node = cfg.MODEL.STRIDED_PYRAMID
        return {"in_channels": input_shape.channels, "channels": node.CHANNELS, "norm": node.NORM}

    @property
    def size_divisibility(self) -> int:
        """Images are padded to multiples of the coarsest stride."""
        return self._out_feature_strides[self._out_features[-1]]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) images to the maps of all strides."""
        outputs = {}
        for name, stage in zip(self._out_features, self.stages, strict=True):
            x = outputs[name] = stage(x)
        return outputs


@ROI_HEADS_REGISTRY.register()
class QualityROIHeads(StandardROIHeads):
    """Adds a branch that predicts the IoU of a region with its object."""

    @configurable
    def __init__(self, *, quality_head: nn.Module, quality_weight: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.quality_head = quality_head
        self.quality_weight = quality_weight

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Reads what ``StandardROIHeads`` reads and ``MODEL.ROI_QUALITY_HEAD``."""
        arguments = super().from_config(cfg, input_shape)
        node = cfg.MODEL.ROI_QUALITY_HEAD
        channels = [input_shape[name].channels for name in arguments["box_in_features"]]
        side = cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION
        arguments["quality_head"] = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels[0] * side * side, node.DIM),
            nn.ReLU(),
            nn.Linear(node.DIM, 1),
        )
        arguments["quality_weight"] = node.LOSS_WEIGHT
        return arguments

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Training: sampled proposals and losses. Inference: detections, rescored."""
        results, losses = super().forward(images, features, proposals, targets)
        if self.training:
            losses["loss_quality"] = self.quality_loss(features, results) * self.quality_weight
            return results, losses
        boxes = [instances.pred_boxes for instances in results]
        quality = self.quality(features, boxes).sigmoid()
        for instances, factor in zip(results, quality.split([len(b) for b in boxes]), strict=True):
            instances.scores = instances.scores * factor
        return results, losses

    def quality(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """(R of all images,) logits of the IoU with an object."""
        maps = [features[name] for name in self.box_in_features]
        return self.quality_head(self.box_pooler(maps, boxes)).flatten()

    def quality_loss(self, features: dict[str, Tensor], proposals: list[Instances]) -> Tensor:
        """Cross entropy of the predicted against the true IoU of the foreground regions."""
        foreground = [p[p.gt_classes < self.num_classes] for p in proposals]
        boxes = [instances.proposal_boxes for instances in foreground]
        overlaps = torch.cat(
            [pairwise_iou(p.proposal_boxes, p.gt_boxes).diag() for p in foreground]
        )
        logits = self.quality(features, boxes)
        return F.binary_cross_entropy_with_logits(logits, overlaps, reduction="sum") / max(
            len(overlaps), 1
        )


def random_batches(batch_size: int, seed: int) -> Iterator[list[dict[str, Any]]]:
    """Endless batches of noise images with two brighter rectangles each, of class 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        batch = []
        for _ in range(batch_size):
            image = torch.randint(60, 140, (3, IMAGE_SIZE, IMAGE_SIZE), generator=generator).float()
            corners = torch.randint(0, 28, (2, 2), generator=generator)
            sides = torch.randint(14, 30, (2, 2), generator=generator)
            boxes = torch.cat([corners, corners + sides], dim=1)
            for label, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
                image[label, y0:y1, x0:x1] += 100
            instances = Instances((IMAGE_SIZE, IMAGE_SIZE))
            instances.gt_boxes = Boxes(boxes.float())
            instances.gt_classes = torch.tensor([0, 1])
            batch.append({"image": image, "instances": instances})
        yield batch


def build_config(output: Path, iterations: int) -> CfgNode:
    """A detector of the two classes above."""
    cfg = get_cfg()
    add_example_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = "StridedPyramid"
    cfg.MODEL.ROI_HEADS.NAME = "QualityROIHeads"
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16, 32]]
    cfg.MODEL.RPN.IN_FEATURES = cfg.MODEL.ROI_HEADS.IN_FEATURES = ["s8"]
    cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 50
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 7
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC = 1
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 32
    cfg.SOLVER.BASE_LR = 0.005
    cfg.SOLVER.MAX_ITER = iterations
    cfg.SOLVER.STEPS = ()
    cfg.SOLVER.WARMUP_ITERS = 0
    cfg.SEED = 11
    cfg.OUTPUT_DIR = str(output)
    return cfg


def main(output: Path, iterations: int = 6) -> dict[str, list[float]]:
    """Trains; returns each loss of every iteration and the detections' scores on a new batch."""
    cfg = build_config(output, iterations)
    default_setup(cfg, argparse.Namespace())
    model = build_model(cfg)
    model.train()
    optimizer = build_optimizer(cfg, model)
    trainer = SimpleTrainer(model, random_batches(batch_size=2, seed=cfg.SEED), optimizer)
    trainer.register_hooks([hooks.LRScheduler(scheduler=build_lr_scheduler(cfg, optimizer))])
    trainer.train(0, iterations)
    numbers = {
        name: [value for value, _ in trainer.storage.history(name).values()]
        for name in trainer.storage.histories()
        if name.startswith("loss_") or name == "total_loss"
    }
    model.eval()
    with torch.no_grad():
        detections = model(next(random_batches(batch_size=1, seed=99)))[0]["instances"]
    numbers["scores"] = detections.scores[:10].tolist()
    return numbers


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--output", type=Path, default=Path("output/custom_backbone"))
    parser.add_argument("--iterations", type=int, default=6)
    arguments = parser.parse_args()
    for name, values in main(arguments.output, arguments.iterations).items():
        print(name, *(f"{value:.5g}" for value in values))
