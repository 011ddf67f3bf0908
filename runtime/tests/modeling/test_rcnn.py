"""Whole detectors from tiny parts: inputs, sizes, who is called with what."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone.backbone import Backbone
from detectron2.modeling.meta_arch import (
    GeneralizedRCNN,
    PanopticFPN,
    ProposalNetwork,
    SemanticSegmentor,
)
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage

MEAN, STD = (1.0, 2.0, 3.0), (1.0, 2.0, 4.0)


class Pixels(Backbone):
    """Gives the normalised images back; their sides are multiples of 4."""

    size_divisibility = 4

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"pixels": x}

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {"pixels": ShapeSpec(channels=3, stride=1)}


class OneProposal(nn.Module):
    """Proposes the whole of each image."""

    def forward(
        self, images: ImageList, features: dict[str, Tensor], targets: list[Instances] | None
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        proposals = [
            Instances(size, proposal_boxes=Boxes(torch.tensor([[0.0, 0, size[1], size[0]]])))
            for size in images.image_sizes
        ]
        return proposals, {"loss_rpn": torch.ones(())} if self.training else {}


class OneDetection(nn.Module):
    """Detects each proposal as class 2."""

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        if self.training:
            return proposals, {"loss_cls": torch.ones(())}
        detections = []
        for x in proposals:
            fields = {"scores": torch.ones(len(x)), "pred_classes": torch.full((len(x),), 2)}
            masks = torch.ones(len(x), 1, 2, 2)
            boxes = x.proposal_boxes
            detections.append(Instances(x.image_size, pred_boxes=boxes, pred_masks=masks, **fields))
        return detections, {}

    def forward_with_given_boxes(
        self, features: dict[str, Tensor], instances: list[Instances]
    ) -> list[Instances]:
        for x in instances:
            x.pred_masks = torch.ones(len(x), 1, 2, 2)
        return instances


class RightHalf(nn.Module):
    """Class 1 in the right half of the batch, class 0 in the left one."""

    ignore_value = 255

    def forward(
        self, features: dict[str, Tensor], targets: Tensor | None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        if self.training:
            assert targets is not None
            return None, {"loss_sem_seg": (targets == 255).sum()}
        x = features["pixels"]
        scores = torch.zeros(len(x), 2, *x.shape[2:])
        scores[:, 1, :, x.shape[3] // 2 :] = 1
        scores[:, 0] = 1 - scores[:, 1]
        return scores, {}


def make_detector(**options: Any) -> GeneralizedRCNN:
    parts = {
        "backbone": Pixels(),
        "proposal_generator": OneProposal(),
        "roi_heads": OneDetection(),
        "pixel_mean": MEAN,
        "pixel_std": STD,
    }
    return GeneralizedRCNN(**{**parts, **options})


def make_panoptic() -> PanopticFPN:
    return PanopticFPN(
        sem_seg_head=RightHalf(),
        combine_stuff_area_thresh=1,
        backbone=Pixels(),
        proposal_generator=OneProposal(),
        roi_heads=OneDetection(),
        pixel_mean=MEAN,
        pixel_std=STD,
    )


def make_input(height: int = 4, width: int = 4, **fields: Any) -> dict[str, Any]:
    return {"image": torch.full((3, height, width), 5, dtype=torch.uint8), **fields}


def ground_truth(height: int = 4, width: int = 4) -> Instances:
    boxes = Boxes(torch.tensor([[0.0, 0, 2, 2]]))
    return Instances((height, width), gt_boxes=boxes, gt_classes=torch.tensor([1]))


def test_images_are_normalised_and_padded() -> None:
    images = make_detector().preprocess_image([make_input(3, 5), make_input(4, 2)])
    assert images.tensor.shape == (2, 3, 4, 8)
    assert images.image_sizes == [(3, 5), (4, 2)]
    # (5 - mean) / std per channel; the padding is 0 after normalisation.
    assert images[1][:, 0, 0].tolist() == [4.0, 1.5, 0.5]
    assert images.tensor[1, :, :, 2:].eq(0).all()


def test_pixel_statistics_are_not_saved() -> None:
    model = make_detector()
    assert list(model.state_dict()) == []
    assert model.pixel_mean.shape == (3, 1, 1)


def test_statistics_of_different_length_are_refused() -> None:
    with pytest.raises(AssertionError, match="PIXEL_STD"):
        make_detector(pixel_std=(1.0,))


def test_results_have_the_wanted_size() -> None:
    model = make_detector().eval()
    wanted, own = model([make_input(height=4, width=4), make_input(3, 5)])
    assert wanted["instances"].image_size == (4, 4)
    assert own["instances"].image_size == (3, 5)
    [scaled] = model([{"image": torch.zeros(3, 4, 4), "height": 8, "width": 12}])
    assert scaled["instances"].pred_boxes.tensor.tolist() == [[0, 0, 12, 8]]
    assert scaled["instances"].pred_masks.shape == (1, 8, 12)


def test_raw_results_keep_the_network_size() -> None:
    model = make_detector().eval()
    inputs = {"image": torch.zeros(3, 4, 4), "height": 8, "width": 12}
    [instances] = model.inference([inputs], do_postprocess=False)
    assert instances.image_size == (4, 4)
    assert instances.pred_masks.shape == (1, 1, 2, 2)


def test_given_detections_get_masks() -> None:
    given = Instances(
        (4, 4),
        pred_boxes=Boxes(torch.tensor([[0.0, 0, 4, 4], [0, 0, 2, 2]])),
        pred_classes=torch.tensor([0, 1]),
    )
    [result] = make_detector().eval().inference([make_input()], [given])
    assert result["instances"].pred_masks.flatten(1).sum(1).tolist() == [16, 4]


def test_training_gives_the_losses_of_all_parts() -> None:
    losses = make_detector()([make_input(instances=ground_truth())])
    assert list(losses) == ["loss_cls", "loss_rpn"]


def test_inference_of_a_training_model_is_refused() -> None:
    with pytest.raises(AssertionError, match="eval"):
        make_detector().inference([make_input()])


def test_proposals_come_from_the_inputs_without_a_generator() -> None:
    model = make_detector(proposal_generator=None).eval()
    regions = Instances((4, 4), proposal_boxes=Boxes(torch.tensor([[1.0, 1, 3, 3]])))
    [result] = model([make_input(proposals=regions)])
    assert result["instances"].pred_boxes.tensor.tolist() == [[1, 1, 3, 3]]
    with pytest.raises(KeyError, match="proposals"):
        model([make_input()])


def test_proposals_are_stored_as_an_image_every_period() -> None:
    model = make_detector(input_format="BGR", vis_period=2)
    inputs = make_input(40, 60, instances=ground_truth(40, 60))
    shown: list[tuple[int, ...]] = []

    class Storage(EventStorage):
        def put_image(self, img_name: str, img_tensor: Any) -> None:
            shown.append(img_tensor.shape)

    with Storage(1):
        model([inputs])
    assert shown == []
    with Storage(2):
        model([inputs])
    assert shown == [(3, 40, 120)]


def test_visualisation_needs_the_input_format() -> None:
    with pytest.raises(AssertionError, match="input_format"):
        make_detector(vis_period=1)


def test_proposal_network_gives_proposals_or_losses() -> None:
    model = ProposalNetwork(
        backbone=Pixels(), proposal_generator=OneProposal(), pixel_mean=MEAN, pixel_std=STD
    )
    assert list(model([make_input(instances=ground_truth())])) == ["loss_rpn"]
    [result] = model.eval()([{"image": torch.zeros(3, 4, 4), "height": 8, "width": 12}])
    assert result["proposals"].proposal_boxes.tensor.tolist() == [[0, 0, 12, 8]]


def test_semantic_scores_have_the_wanted_size() -> None:
    model = SemanticSegmentor(
        backbone=Pixels(), sem_seg_head=RightHalf(), pixel_mean=MEAN, pixel_std=STD
    ).eval()
    wanted, own = model([make_input(height=4, width=4), make_input(3, 8)])
    assert wanted["sem_seg"].shape == (2, 4, 4)
    assert own["sem_seg"].argmax(0).tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]] * 3


def test_label_maps_are_padded_with_the_ignored_label() -> None:
    model = SemanticSegmentor(
        backbone=Pixels(), sem_seg_head=RightHalf(), pixel_mean=MEAN, pixel_std=STD
    )
    losses = model([make_input(3, 4, sem_seg=torch.zeros(3, 4, dtype=torch.int64))])
    assert losses["loss_sem_seg"].item() == 4


def test_panoptic_results_merge_both_heads() -> None:
    [result] = make_panoptic().eval()([make_input()])
    assert list(result) == ["sem_seg", "instances", "panoptic_seg"]
    panoptic, segments = result["panoptic_seg"]
    # The only instance covers the image, so nothing is left of the stuff in the right half.
    assert panoptic.eq(1).all()
    assert [(x["isthing"], x["category_id"]) for x in segments] == [(True, 2)]


def test_raw_panoptic_results_are_not_merged() -> None:
    detections, scores = make_panoptic().eval().inference([make_input()], do_postprocess=False)
    assert len(detections) == 1
    assert scores.shape == (1, 2, 4, 4)


def test_panoptic_training_needs_both_kinds_of_ground_truth() -> None:
    model = make_panoptic()
    labels = torch.zeros(4, 4, dtype=torch.int64)
    losses = model([make_input(instances=ground_truth(), sem_seg=labels)])
    assert list(losses) == ["loss_sem_seg", "loss_rpn", "loss_cls"]
    with pytest.raises(AssertionError, match="sem_seg"):
        model([make_input(instances=ground_truth())])
