#!/usr/bin/env python
"""Inference and one training step of published architectures, on the CPU.

python bench/bench_models.py --reference-python PATH
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from _compare import Case, Tolerance, build_parser, compare

MODELS = {
    "mask_rcnn_R_50_FPN": "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
    "panoptic_fpn_R_50": "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml",
}
OBJECTS = 8
TOLERANCES = {
    "inference": Tolerance(relative=1e-3, fraction=1e-3),
    # Filled weights rate many regions almost alike: rounding decides which ones are sampled.
    "training_step": Tolerance(relative=5e-3),
}


def inference(config: str, height: int, width: int) -> Callable[[], dict[str, Any]]:
    """Detections, and for a panoptic model its maps, of one image."""
    import torch

    model = _model(config).eval()
    inputs = [{"image": _image(height, width), "height": height, "width": width}]

    def run() -> dict[str, Any]:
        with torch.no_grad():
            [result] = model(inputs)
        instances = result["instances"]
        assert len(instances), "the filled weights must detect something"
        outputs = {
            "boxes": instances.pred_boxes.tensor.numpy(),
            "scores": instances.scores.numpy(),
            "classes": instances.pred_classes.numpy(),
            "masks": instances.pred_masks.numpy(),
        }
        if "sem_seg" in result:
            outputs["sem_seg"] = result["sem_seg"].argmax(dim=0).numpy()
            outputs["panoptic"] = result["panoptic_seg"][0].numpy()
        return outputs

    return run


def training_step(config: str, height: int, width: int) -> Callable[[], dict[str, Any]]:
    """Forward, backward and a step of the optimizer on one image; losses."""
    import torch

    from detectron2.solver import build_optimizer
    from detectron2.utils.events import EventStorage

    cfg = _config(config)
    cfg.SOLVER.BASE_LR = 1e-8  # the weights stay, so that all runs do the same work
    model = _model(config).train()
    optimizer = build_optimizer(cfg, model)
    inputs = [_training_input(height, width)]

    def run() -> dict[str, Any]:
        torch.manual_seed(0)  # of the sampling of regions
        with EventStorage():
            losses = model(inputs)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        gradients = [p.grad.norm() for p in model.parameters() if p.grad is not None]
        optimizer.step()
        values = {name: np.float64(loss.detach()) for name, loss in losses.items()}
        return {**values, "gradients": torch.stack(gradients).numpy()}

    return run


def _config(config: str) -> Any:
    from detectron2 import model_zoo

    cfg = model_zoo.get_config(config)
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.DEVICE = "cpu"
    # Filled weights are unsure of all classes.
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.02
    cfg.MODEL.PANOPTIC_FPN.COMBINE.INSTANCES_CONFIDENCE_THRESH = 0.05
    return cfg


def _model(config: str) -> Any:
    from detectron2.modeling import build_model

    return _fill(build_model(_config(config)))


def _fill(model: Any) -> Any:
    """Gives each parameter values that follow from its name and shape alone.

    Convolutions keep the variance of what they get; norms are the identity, except that the last
    one of a residual branch is damped, so that features keep their scale through the network.
    """
    import torch

    for name, tensor in model.state_dict().items():
        random = np.random.default_rng(zlib.crc32(name.encode()))
        if tensor.dim() >= 2:
            fan_in = np.prod(tensor.shape[1:])
            values = random.standard_normal(tuple(tensor.shape)) * np.sqrt(2 / fan_in)
        elif name.endswith("weight"):
            values = np.full(tuple(tensor.shape), 0.3 if ".conv3." in name else 1.0)
        elif name.endswith("running_var"):
            values = np.ones(tuple(tensor.shape))
        else:
            values = np.zeros(tuple(tensor.shape))
        scale = 0.1 if "bbox_pred" in name or "anchor_deltas" in name else 1.0
        tensor.copy_(torch.from_numpy(values * scale))
    return model


def _image(height: int, width: int) -> Any:
    import torch

    # Smooth blobs and some noise: neither flat nor white noise, which features would blur away.
    random = np.random.default_rng(0)
    coarse = torch.from_numpy(random.uniform(0, 255, (1, 3, height // 20, width // 20)))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0]
    noise = torch.from_numpy(random.normal(0, 8, (3, height, width)))
    return (smooth + noise).clamp(0, 255).byte()


def _training_input(height: int, width: int) -> dict[str, Any]:
    import torch

    from detectron2.structures import Boxes, Instances, PolygonMasks

    random = np.random.default_rng(1)
    corners = random.uniform(0, 0.6, (OBJECTS, 2)) * [width, height]
    sizes = random.uniform(0.1, 0.4, (OBJECTS, 2)) * [width, height]
    boxes = np.concatenate([corners, corners + sizes], axis=1)
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(torch.from_numpy(boxes).float())
    instances.gt_classes = torch.from_numpy(random.integers(0, 80, OBJECTS))
    instances.gt_masks = PolygonMasks([[_octagon(box)] for box in boxes])
    labels = torch.from_numpy(random.integers(0, 54, (height // 20, width // 20)))
    sem_seg = labels.repeat_interleave(20, dim=0).repeat_interleave(20, dim=1)
    return {"image": _image(height, width), "instances": instances, "sem_seg": sem_seg}


def _octagon(box_xyxy: np.ndarray) -> np.ndarray:
    angles = np.arange(8) * (np.pi / 4)
    center, half = (box_xyxy[:2] + box_xyxy[2:]) / 2, (box_xyxy[2:] - box_xyxy[:2]) / 2
    return (center + half * np.stack([np.cos(angles), np.sin(angles)], axis=1)).ravel()


def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, times, prints."""
    args = build_parser(__doc__).parse_args(argv)
    height, width = (80, 120) if args.quick else (480, 640)
    models = dict(list(MODELS.items())[-1:]) if args.quick else MODELS
    cases = [
        Case(
            name=f"{name}, {function.replace('_', ' ')}, {width}x{height}",
            function=function,
            settings={"config": config, "height": height, "width": width},
            tolerance=tolerance,
        )
        for name, config in models.items()
        for function, tolerance in TOLERANCES.items()
    ]
    compare(__file__, cases, args)


if __name__ == "__main__":
    main()
