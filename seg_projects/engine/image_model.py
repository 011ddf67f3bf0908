"""A trained model on single images, which it sees as an evaluation would show them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.data.detection_utils import convert_PIL_to_numpy
from detectron2.modeling import GeneralizedRCNNWithTTA, build_model
from seg_projects.data.augmentation import build_augmentations
from seg_projects.data.images import as_tensor
from seg_projects.engine.model_checks import augments_detections, check_inference
from seg_projects.engine.weights import load_weights


class ImageModel:
    """The model of a config with its weights, in evaluation mode, on images of any size."""

    def __init__(self, cfg: CfgNode) -> None:
        """Builds the model on ``MODEL.DEVICE`` and loads ``MODEL.WEIGHTS``.

        Raises:
            UserError: the weights do not fit, or the model has no ``TEST.AUG`` that is asked for.
        """
        check_inference(cfg)
        self.model = build_model(cfg).eval()
        load_weights(cfg, self.model)
        augmented = augments_detections(cfg)
        self._whole = GeneralizedRCNNWithTTA(cfg, self.model) if augmented else self.model
        self._resize = T.AugmentationList(build_augmentations(cfg, is_train=False))
        self._format = cfg.INPUT.FORMAT

    def inputs(self, image_rgb: np.ndarray) -> dict[str, Any]:
        """What a model takes of an (H, W, 3) RGB image, uint8 or float32 in [0, 255]."""
        height, width = image_rgb.shape[:2]
        aug_input = T.AugInput(_in_format(image_rgb, self._format))
        self._resize(aug_input)
        return {"image": as_tensor(aug_input.image), "height": height, "width": width}

    @torch.no_grad()
    def __call__(self, image_rgb: np.ndarray) -> dict[str, Any]:
        """The output for an (H, W, 3) RGB image, at its size; ``TEST.AUG`` included."""
        return self._whole([self.inputs(image_rgb)])[0]


def _in_format(image_rgb: np.ndarray, image_format: str) -> np.ndarray:
    """The channels of ``INPUT.FORMAT``, as ``read_image`` gives them."""
    if image_format == "RGB":
        return image_rgb
    if image_format == "BGR":
        return image_rgb[:, :, ::-1]
    if image_rgb.dtype == np.uint8:
        return convert_PIL_to_numpy(Image.fromarray(image_rgb), image_format)
    return image_rgb[:, :, :1] if image_format == "L" else image_rgb  # floats are grey
