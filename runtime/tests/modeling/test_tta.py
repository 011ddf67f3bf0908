"""Detections from several sizes of an image and their mirror images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from detectron2.config import CfgNode, get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone.backbone import Backbone
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.modeling.test_time_augmentation import DatasetMapperTTA, GeneralizedRCNNWithTTA
from detectron2.structures import Boxes, ImageList, Instances


class Pixels(Backbone):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"pixels": x}

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {"pixels": ShapeSpec(channels=3, stride=1)}


class NoProposals(nn.Module):
    def forward(self, images: ImageList, *_: Any) -> tuple[list[None], dict[str, Tensor]]:
        return [None] * len(images), {}


class BrightBox(nn.Module):
    """Detects the box of the bright pixels; masks are 1 in the left half, 0.2 in the right one."""

    def __init__(self) -> None:
        super().__init__()
        self.mask_on = True
        self.batch_sizes: list[int] = []

    def forward(self, images: ImageList, *_: Any) -> tuple[list[Instances], dict[str, Tensor]]:
        assert not self.mask_on, "masks are found for the merged boxes alone"
        self.batch_sizes.append(len(images))
        detections = []
        for index, size in enumerate(images.image_sizes):
            y, x = (images[index][0] > 100).nonzero(as_tuple=True)
            box = torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1]).float()[None]
            fields = {"scores": torch.tensor([0.9]), "pred_classes": torch.tensor([1])}
            detections.append(Instances(size, pred_boxes=Boxes(box), **fields))
        return detections, {}

    def forward_with_given_boxes(
        self, features: dict[str, Tensor], instances: list[Instances]
    ) -> list[Instances]:
        for x in instances:
            masks = torch.full((len(x), 1, 4, 4), 0.2)
            masks[..., :2] = 1
            x.pred_masks = masks
        return instances


def tta_config() -> CfgNode:
    cfg = get_cfg()
    cfg.MODEL.MASK_ON = True
    cfg.TEST.AUG.MIN_SIZES, cfg.TEST.AUG.MAX_SIZE = (16, 32), 100
    return cfg


def make_model() -> GeneralizedRCNN:
    return GeneralizedRCNN(
        backbone=Pixels(),
        proposal_generator=NoProposals(),
        roi_heads=BrightBox(),
        pixel_mean=(0.0, 0.0, 0.0),
        pixel_std=(1.0, 1.0, 1.0),
        input_format="BGR",
    ).eval()


def bright_image() -> Tensor:
    """A 16 x 24 image, bright in rows 4 to 11 and columns 2 to 9."""
    image = torch.zeros(3, 16, 24, dtype=torch.uint8)
    image[:, 4:12, 2:10] = 200
    return image


def test_mapper_gives_each_size_and_its_mirror_image() -> None:
    mapper = DatasetMapperTTA([8, 16], 100, True)
    inputs = {"image": bright_image(), "height": 16, "width": 24, "file_name": "a.png"}
    augmented = mapper(inputs)
    assert [tuple(x["image"].shape) for x in augmented] == [(3, 8, 12)] * 2 + [(3, 16, 24)] * 2
    assert torch.equal(augmented[2]["image"], inputs["image"])
    assert torch.equal(augmented[3]["image"], inputs["image"].flip(2))
    assert all(x["file_name"] == "a.png" and x["height"] == 16 for x in augmented)
    assert "transforms" not in inputs


def test_transforms_lead_from_the_original_image() -> None:
    mapper = DatasetMapperTTA([8], 100, True)
    augmented = mapper({"image": bright_image(), "height": 32, "width": 48})
    box = np.array([[4.0, 8, 20, 24]])
    assert augmented[0]["transforms"].apply_box(box).tolist() == [[1, 2, 5, 6]]
    mirrored = augmented[1]["transforms"]
    assert mirrored.apply_box(box).tolist() == [[7, 2, 11, 6]]
    assert mirrored.inverse().apply_box(np.array([[7.0, 2, 11, 6]])).tolist() == box.tolist()


def test_mapper_does_not_mirror_unless_asked() -> None:
    mapper = DatasetMapperTTA([8], 100, False)
    assert len(mapper({"image": bright_image(), "height": 16, "width": 24})) == 1


def test_mapper_reads_the_config() -> None:
    mapper = DatasetMapperTTA(tta_config())  # type: ignore[call-arg]  # from a config
    assert (tuple(mapper.min_sizes), mapper.max_size, mapper.flip) == ((16, 32), 100, True)


def test_detections_merge_in_the_original_frame() -> None:
    model = GeneralizedRCNNWithTTA(tta_config(), make_model())
    [result] = model([{"image": bright_image(), "height": 32, "width": 48}])
    instances = result["instances"]
    assert instances.image_size == (32, 48)
    # All four images find the same box, so that one is left.
    assert instances.pred_boxes.tensor.tolist() == [[4, 8, 20, 24]]
    assert instances.pred_classes.tolist() == [1]
    assert instances.scores.tolist() == pytest.approx([0.9])


def test_masks_are_averaged_in_the_original_frame() -> None:
    model = GeneralizedRCNNWithTTA(tta_config(), make_model())
    [result] = model([{"image": bright_image(), "height": 16, "width": 24}])
    mask = result["instances"].pred_masks[0]
    # Mirrored back, half of the masks are 1 in the right half: the mean is 0.6 in the whole box.
    assert mask[5:11, 3:9].all()
    assert mask.sum() <= 64


def test_masks_are_off_for_the_boxes_only() -> None:
    model = make_model()
    GeneralizedRCNNWithTTA(tta_config(), model)([{"image": bright_image()}])
    assert model.roi_heads.mask_on


def test_batches_have_the_wanted_size() -> None:
    model = make_model()
    GeneralizedRCNNWithTTA(tta_config(), model, batch_size=3)([{"image": bright_image()}])
    assert model.roi_heads.batch_sizes == [3, 1]


def test_boxes_alone_without_masks() -> None:
    cfg = tta_config()
    cfg.MODEL.MASK_ON = False
    [result] = GeneralizedRCNNWithTTA(cfg, make_model())([{"image": bright_image()}])
    assert list(result["instances"].get_fields()) == ["pred_boxes", "scores", "pred_classes"]
    assert result["instances"].image_size == (16, 24)


def test_absent_image_is_read(tmp_path: Any) -> None:
    from PIL import Image

    path = tmp_path / "image.png"
    Image.fromarray(bright_image().permute(1, 2, 0).numpy()).save(path)
    [result] = GeneralizedRCNNWithTTA(tta_config(), make_model())([{"file_name": str(path)}])
    assert result["instances"].pred_boxes.tensor.tolist() == [[2, 4, 10, 12]]


def test_other_models_are_refused() -> None:
    with pytest.raises(AssertionError, match="Identity"):
        GeneralizedRCNNWithTTA(tta_config(), nn.Identity())
