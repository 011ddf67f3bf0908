"""Heads per region of models with and without a feature pyramid, with and without a cascade."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden import Golden, weight_rule
from matching import check_masks, match_detections
from torch import nn

from detectron2.config import CfgNode, get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import (
    CascadeROIHeads,
    ROIHeads,
    StandardROIHeads,
    build_roi_heads,
    select_foreground_proposals,
)
from detectron2.structures import BitMasks, Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage

CASES = ["roi_heads", "cascade_roi_heads"]
LEVELS = ["p2", "p3", "p4", "p5"]
SHAPES = {name: ShapeSpec(channels=8, stride=4 * 2**i) for i, name in enumerate(LEVELS)}


def heads_config(name: str) -> CfgNode:
    cfg = get_cfg()
    heads, box, mask = cfg.MODEL.ROI_HEADS, cfg.MODEL.ROI_BOX_HEAD, cfg.MODEL.ROI_MASK_HEAD
    cfg.MODEL.MASK_ON = True
    heads.NAME, heads.IN_FEATURES, heads.NUM_CLASSES = name, LEVELS, 5
    heads.BATCH_SIZE_PER_IMAGE, heads.POSITIVE_FRACTION = 100000, 0.5
    box.NAME, box.NUM_FC, box.FC_DIM, box.POOLER_RESOLUTION = "FastRCNNConvFCHead", 2, 32, 7
    mask.NUM_CONV, mask.CONV_DIM, mask.POOLER_RESOLUTION = 2, 8, 14
    box.CLS_AGNOSTIC_BBOX_REG = name == "CascadeROIHeads"
    return cfg


class RecordedHeads:
    """The heads, features, proposals and ground truth of a recorded case."""

    def __init__(self, case: str) -> None:
        self.golden = Golden(case)
        params = self.golden.params
        name = "StandardROIHeads" if case == "roi_heads" else "CascadeROIHeads"
        heads = build_roi_heads(heads_config(name), SHAPES)
        self.heads = weight_rule().fill(heads, params["seed"], params["gains"])
        self.sizes = [tuple(size) for size in params["sizes"]]
        self.features = {name: self.golden.input(name) for name in LEVELS}
        self.images = ImageList(torch.zeros(2, 3, *self.sizes[0]), self.sizes)

    def proposals(self) -> list[Instances]:
        result = []
        for i, size in enumerate(self.sizes):
            boxes = Boxes(self.golden.input(f"prop{i}"))
            logits = torch.zeros(len(boxes))
            result.append(Instances(size, proposal_boxes=boxes, objectness_logits=logits))
        return result

    def targets(self) -> list[Instances]:
        return [
            Instances(
                size,
                gt_boxes=Boxes(self.golden.input(f"gtb{i}")),
                gt_classes=self.golden.input(f"gtc{i}"),
                gt_masks=BitMasks(self.golden.input(f"gtm{i}")),
            )
            for i, size in enumerate(self.sizes)
        ]

    def detect(self) -> list[Instances]:
        self.heads.eval()
        with torch.no_grad():
            detections, losses = self.heads(self.images, self.features, self.proposals())
        assert losses == self.golden.json("facts")["eval_losses"]
        return detections

    def train(self, targets: list[Instances]) -> tuple[dict[str, float], dict[str, float]]:
        """Losses and stored scalars."""
        self.heads.train()
        with EventStorage() as storage:
            _, losses = self.heads(self.images, self.features, self.proposals(), targets)
            stored = {name: value[0] for name, value in storage.latest().items()}
        return {name: loss.item() for name, loss in losses.items()}, stored


@pytest.fixture(scope="module", params=CASES)
def recorded(request: pytest.FixtureRequest) -> RecordedHeads:
    return RecordedHeads(request.param)


def test_detections_are_the_recorded_ones(recorded: RecordedHeads) -> None:
    facts = recorded.golden.json("facts")
    detections = recorded.detect()
    for i, (instances, number) in enumerate(zip(detections, facts["num_det"], strict=True)):
        assert len(instances) == number
        assert list(instances.get_fields()) == facts["pred_fields"]
        pairs = match_detections(recorded.golden, instances, str(i))
        check_masks(recorded.golden, instances.pred_masks.numpy(), pairs, f"masks{i}")


def test_losses_are_the_recorded_ones(recorded: RecordedHeads) -> None:
    losses, stored = recorded.train(recorded.targets())
    recorded.golden.check_json("losses", losses)
    recorded.golden.check_json("storage", stored)
    assert list(losses) == recorded.golden.json("facts")["loss_order"]


def test_losses_without_ground_truth_are_the_recorded_ones(recorded: RecordedHeads) -> None:
    losses, _ = recorded.train([x[:0] for x in recorded.targets()])
    recorded.golden.check_json("losses_no_gt", losses)


def test_sampled_proposals_are_the_recorded_ones(recorded: RecordedHeads) -> None:
    golden, facts = recorded.golden, recorded.golden.json("facts")
    with EventStorage():
        sampled = recorded.heads.label_and_sample_proposals(
            recorded.proposals(), recorded.targets()
        )
    assert [len(x) for x in sampled] == facts["num_sampled"]
    assert sorted(sampled[0].get_fields()) == facts["sampled_fields"]
    boxes = sampled[0].proposal_boxes.tensor.numpy()
    order = np.lexsort(boxes.T[::-1])
    golden.check("sampled_boxes0", boxes[order])
    golden.check("sampled_classes0", sampled[0].gt_classes.numpy()[order])


def test_names_are_the_recorded_ones(recorded: RecordedHeads) -> None:
    assert list(recorded.heads.state_dict()) == recorded.golden.json("facts")["names"]


def test_given_boxes_get_the_masks_of_detections(recorded: RecordedHeads) -> None:
    detections = recorded.detect()
    masks = [x.pred_masks for x in detections]
    for instances in detections:
        instances.remove("pred_masks")
    with torch.no_grad():
        again = recorded.heads.forward_with_given_boxes(recorded.features, detections)
    torch.testing.assert_close([x.pred_masks for x in again], masks)


def test_no_proposals_give_no_detections(recorded: RecordedHeads) -> None:
    recorded.heads.eval()
    none = [x[:0] for x in recorded.proposals()]
    with torch.no_grad():
        detections, _ = recorded.heads(recorded.images, recorded.features, none)
    assert [len(x) for x in detections] == [0, 0]
    assert [tuple(x.pred_masks.shape) for x in detections] == [(0, 1, 28, 28)] * 2


def test_neither_proposals_nor_ground_truth_still_train(recorded: RecordedHeads) -> None:
    recorded.heads.train()
    none = [x[:0] for x in recorded.proposals()]
    truth = [x[:0] for x in recorded.targets()]
    with EventStorage():
        _, losses = recorded.heads(recorded.images, recorded.features, none, truth)
    total = sum(losses.values())
    total.backward()
    assert total.item() == 0
    assert all(p.grad is not None for p in recorded.heads.parameters())


def test_mask_head_trains_on_refined_boxes_if_asked() -> None:
    recorded = RecordedHeads("roi_heads")
    recorded.heads.train_on_pred_boxes = True
    with EventStorage():
        proposals, _ = recorded.heads(
            recorded.images, recorded.features, recorded.proposals(), recorded.targets()
        )
        given = recorded.heads.label_and_sample_proposals(recorded.proposals(), recorded.targets())
    assert not proposals[0].proposal_boxes.tensor.requires_grad
    assert set(map(tuple, proposals[0].proposal_boxes.tensor.tolist())).isdisjoint(
        map(tuple, given[0].proposal_boxes.tensor.tolist())
    )


def test_foreground_is_neither_background_nor_ignored() -> None:
    regions = Instances((8, 8), gt_classes=torch.tensor([0, 5, -1, 4]))
    [foreground], [mask] = select_foreground_proposals([regions], bg_label=5)
    assert foreground.gt_classes.tolist() == [0, 4]
    assert mask.tolist() == [True, False, False, True]


def test_ignored_regions_are_not_sampled() -> None:
    heads = ROIHeads(
        num_classes=5,
        batch_size_per_image=10,
        positive_fraction=0.5,
        proposal_matcher=Matcher([0.3, 0.7], [0, -1, 1]),
        proposal_append_gt=False,
    )
    # IoU with the only object: 1, 0.5, 0.
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 2], [5, 5, 6, 6]])
    truth = Instances((8, 8), gt_boxes=Boxes(boxes[:1]), gt_classes=torch.tensor([3]))
    with EventStorage():
        [sampled] = heads.label_and_sample_proposals(
            [Instances((8, 8), proposal_boxes=Boxes(boxes))], [truth]
        )
    assert sampled.gt_classes.tolist() == [3, 5]


def test_heads_without_masks_have_no_mask_loss() -> None:
    cfg = heads_config("StandardROIHeads")
    cfg.MODEL.MASK_ON = False
    recorded = RecordedHeads("roi_heads")
    recorded.heads = build_roi_heads(cfg, SHAPES)
    losses, _ = recorded.train(recorded.targets())
    assert list(losses) == ["loss_cls", "loss_box_reg"]
    recorded.heads.eval()
    assert not recorded.detect()[0].has("pred_masks")


def test_mask_head_gets_whole_maps_without_a_pooler() -> None:
    class WholeMaps(nn.Module):
        def forward(
            self, x: dict[str, torch.Tensor], instances: list[Instances]
        ) -> dict[str, object]:
            return {"loss_mask": sum(f.sum() for f in x.values()) * len(instances)}

    heads = build_roi_heads(heads_config("StandardROIHeads"), SHAPES)
    heads.mask_pooler, heads.mask_head = None, WholeMaps()
    regions = Instances((8, 8), gt_classes=torch.tensor([1]))
    features = {name: torch.ones(1) for name in LEVELS}
    assert heads._forward_mask(features, [regions])["loss_mask"].item() == 4


def test_keypoints_are_refused() -> None:
    cfg = heads_config("StandardROIHeads")
    cfg.MODEL.KEYPOINT_ON = True
    with pytest.raises(NotImplementedError, match="KEYPOINT_ON"):
        build_roi_heads(cfg, SHAPES)


def test_base_class_has_no_forward() -> None:
    heads = ROIHeads(
        num_classes=5,
        batch_size_per_image=1,
        positive_fraction=0.5,
        proposal_matcher=Matcher([0.5], [0, 1]),
    )
    with pytest.raises(NotImplementedError, match="forward"):
        heads(ImageList(torch.zeros(0, 3, 1, 1), []), {}, [])


def test_levels_of_different_width_are_refused() -> None:
    shapes = {**SHAPES, "p3": ShapeSpec(channels=9, stride=8)}
    with pytest.raises(ValueError, match=r"\[8, 9\]"):
        build_roi_heads(heads_config("StandardROIHeads"), shapes)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", False, "CLS_AGNOSTIC_BBOX_REG"),
        ("MODEL.ROI_BOX_CASCADE_HEAD.IOUS", (0.4, 0.6, 0.7), "IOU_THRESHOLDS"),
        ("MODEL.ROI_BOX_CASCADE_HEAD.IOUS", (0.5, 0.6), "BBOX_REG_WEIGHTS"),
    ],
)
def test_impossible_cascades_are_refused(key: str, value: object, message: str) -> None:
    cfg = heads_config("CascadeROIHeads")
    cfg.merge_from_list([key, value])
    with pytest.raises(AssertionError, match=message):
        build_roi_heads(cfg, SHAPES)


def test_cascade_takes_one_matcher_per_stage() -> None:
    with pytest.raises(AssertionError, match="proposal_matchers"):
        CascadeROIHeads(
            box_in_features=["p2"],
            box_pooler=ROIPooler(7, [0.25], 0, "ROIAlignV2"),
            box_heads=[nn.Identity()],
            box_predictors=[nn.Identity()],
            proposal_matchers=[],
        )


def test_standard_heads_are_the_base_of_the_cascade() -> None:
    assert issubclass(CascadeROIHeads, StandardROIHeads)


def test_each_stage_of_a_cascade_sends_back_its_share_of_the_gradient() -> None:
    heads = build_roi_heads(heads_config("CascadeROIHeads"), SHAPES)
    heads.box_pooler = Pooled()
    heads.box_head[0], heads.box_predictor[0] = nn.Identity(), nn.Identity()
    features = torch.ones(2, 3, requires_grad=True)
    heads._run_stage([features], [], 0).sum().backward()
    assert features.grad is not None
    torch.testing.assert_close(features.grad, torch.full((2, 3), 1 / 3))


class Pooled(nn.Module):
    """Takes the feature map for the features of the regions."""

    def forward(self, maps: list[torch.Tensor], boxes: list[Boxes]) -> torch.Tensor:
        return maps[0]
