"""A dataset mapper of one's own, a trainer that uses it, and COCO's average precision.

The program draws a small data set of rectangles and ellipses with COCO annotations, registers it,
trains the heads of a small Mask R-CNN for a few iterations and evaluates it:

    python docs/examples/custom_mapper.py --output output/custom_mapper
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from detectron2 import model_zoo
from detectron2.config import CfgNode
from detectron2.data import build_detection_train_loader
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.data.datasets import register_coco_instances
from detectron2.engine import DefaultTrainer, default_setup
from detectron2.evaluation import COCOEvaluator

CATEGORIES = ("rectangle", "ellipse")
IMAGE_SIZE = 64
COLORS = {"rectangle": (220, 40, 40), "ellipse": (40, 60, 230)}


def outline(category: str, box: tuple[int, int, int, int]) -> list[float]:
    """The polygon [x0, y0, x1, y1, ...] of a shape that fills the box (x, y, width, height)."""
    x, y, width, height = (float(value) for value in box)
    if category == "rectangle":
        return [x, y, x + width, y, x + width, y + height, x, y + height]
    angles = [2 * math.pi * k / 16 for k in range(16)]
    corners = [
        (x + width * (1 + math.cos(a)) / 2, y + height * (1 + math.sin(a)) / 2) for a in angles
    ]
    return [round(value, 2) for corner in corners for value in corner]


def draw_dataset(folder: Path, count: int, seed: int) -> Path:
    """Draws ``count`` images with two shapes each; returns the path of their COCO annotations."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id in range(1, count + 1):
        canvas = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), (110, 120, 110))
        for left in (2, 33):
            category = CATEGORIES[generator.integers(2)]
            width, height = (int(value) for value in generator.integers(18, 29, size=2))
            box = (left, int(generator.integers(2, 33)), width, height)
            polygon = outline(category, box)
            ImageDraw.Draw(canvas).polygon(polygon, fill=COLORS[category])
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": CATEGORIES.index(category) + 1,
                    "bbox": [float(value) for value in box],
                    "area": width * height,
                    "iscrowd": 0,
                    "segmentation": [polygon],
                }
            )
        name = f"{image_id:03d}.png"
        canvas.save(folder / name)
        images.append(
            {"id": image_id, "file_name": name, "width": IMAGE_SIZE, "height": IMAGE_SIZE}
        )
    categories = [{"id": index, "name": name} for index, name in enumerate(CATEGORIES, start=1)]
    path = folder / "instances.json"
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return path


class NoisyMapper:
    """Flips and resizes an image with its annotations, then adds Gaussian noise to its pixels."""

    def __init__(self, image_format: str, mask_format: str, noise: float) -> None:
        self.image_format, self.mask_format, self.noise = image_format, mask_format, noise
        self.augmentations = T.AugmentationList(
            [
                T.RandomFlip(prob=0.5),
                T.ResizeShortestEdge((64, 80), max_size=96, sample_style="choice"),
                T.RandomBrightness(0.9, 1.1),
            ]
        )

    def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
        record = copy.deepcopy(record)
        image = utils.read_image(record["file_name"], format=self.image_format)
        utils.check_image_size(record, image)
        augmented = T.AugInput(image)
        transforms = self.augmentations(augmented)
        pixels = augmented.image + np.random.normal(0, self.noise, augmented.image.shape)
        pixels = np.clip(pixels, 0, 255).astype("float32")
        record["image"] = torch.as_tensor(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        size = augmented.image.shape[:2]
        annotations = [
            utils.transform_instance_annotations(annotation, transforms, size)
            for annotation in record.pop("annotations")
            if annotation.get("iscrowd", 0) == 0
        ]
        instances = utils.annotations_to_instances(annotations, size, mask_format=self.mask_format)
        record["instances"] = utils.filter_empty_instances(instances)
        return record


class Trainer(DefaultTrainer):
    """Trains the heads of a model, on data of the mapper above, and measures COCO's metrics."""

    @classmethod
    def build_model(cls, cfg: CfgNode) -> torch.nn.Module:
        """A model whose features and region proposals stay as they are."""
        model = super().build_model(cfg)
        for part in (model.backbone, model.proposal_generator):
            for parameter in part.parameters():
                parameter.requires_grad = False
        return model

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Any:
        """Batches mapped by ``NoisyMapper``."""
        mapper = NoisyMapper(cfg.INPUT.FORMAT, cfg.INPUT.MASK_FORMAT, noise=4.0)
        return build_detection_train_loader(cfg, mapper=mapper)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> COCOEvaluator:
        """Average precision of boxes and masks."""
        folder = Path(cfg.OUTPUT_DIR) / "inference"
        return COCOEvaluator(dataset_name, output_dir=str(folder))


def build_config(output: Path, iterations: int) -> CfgNode:
    """A Mask R-CNN small enough to train on a CPU in seconds."""
    cfg = model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml")
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.RESNETS.DEPTH = 18
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    cfg.MODEL.RESNETS.NORM = cfg.MODEL.FPN.NORM = "GN"
    cfg.MODEL.FPN.OUT_CHANNELS = 32
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[12], [24], [36], [48], [64]]
    cfg.MODEL.RPN.BATCH_SIZE_PER_IMAGE = 64
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 64
    cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = 16
    cfg.MODEL.ROI_MASK_HEAD.NUM_CONV = 2
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 32
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(CATEGORIES)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = IMAGE_SIZE, 2 * IMAGE_SIZE
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("shapes_train",), ("shapes_val",)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.SOLVER.BASE_LR = 0.01
    cfg.SOLVER.MAX_ITER = iterations
    cfg.SOLVER.STEPS = ()
    cfg.SOLVER.WARMUP_ITERS = 5
    cfg.TEST.EVAL_PERIOD = 0
    cfg.SEED = 7
    cfg.OUTPUT_DIR = str(output)
    return cfg


def main(output: Path, iterations: int = 30) -> dict[str, list[float]]:
    """Trains and evaluates; returns the loss of each iteration and the metrics."""
    for split, count, seed in (("train", 16, 1), ("val", 6, 2)):
        path = draw_dataset(output / split, count, seed)
        register_coco_instances(f"shapes_{split}", {}, str(path), str(path.parent))
    cfg = build_config(output, iterations)
    default_setup(cfg, argparse.Namespace())
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    losses = [value for value, _ in trainer.storage.history("total_loss").values()]
    metrics = {name: value for name, (value, _) in trainer.storage.latest().items()}
    numbers = {"total_loss": losses}
    for task in ("bbox", "segm"):
        numbers[task] = [metrics[f"{task}/{name}"] for name in ("AP", "AP50", "AP75")]
    return numbers


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--output", type=Path, default=Path("output/custom_mapper"))
    parser.add_argument("--iterations", type=int, default=30)
    arguments = parser.parse_args()
    for name, values in main(arguments.output, arguments.iterations).items():
        print(name, *(f"{value:.5g}" for value in values))
