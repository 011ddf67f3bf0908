"""The box predictor: losses, refined boxes, detections."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from golden import Golden, check_json, exception_name, weight_rule
from torch import Tensor

from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.roi_heads.fast_rcnn import (
    FastRCNNOutputLayers,
    fast_rcnn_inference_single_image,
)
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden("fast_rcnn_outputs")


def make_predictor(**options: Any) -> FastRCNNOutputLayers:
    return FastRCNNOutputLayers(
        ShapeSpec(channels=8),
        box2box_transform=Box2BoxTransform((10, 10, 5, 5)),
        num_classes=4,
        test_score_thresh=0.05,
        test_nms_thresh=0.5,
        test_topk_per_image=20,
        **options,
    )


def recorded_proposals(golden: Golden) -> list[Instances]:
    size = tuple(golden.params["size"])
    return [
        Instances(
            size,
            proposal_boxes=Boxes(golden.input(f"prop{i}")),
            gt_boxes=Boxes(golden.input(f"gtb{i}")),
            gt_classes=golden.input(f"gtc{i}"),
        )
        for i in range(2)
    ]


def recorded_predictions(golden: Golden) -> tuple[Tensor, Tensor]:
    return golden.input("scores"), golden.input("deltas")


def test_detections_are_the_recorded_ones(golden: Golden) -> None:
    scores, deltas = recorded_predictions(golden)
    scores[1, 0] = float("nan")
    detections, kept = make_predictor().inference((scores, deltas), recorded_proposals(golden))
    for i in range(2):
        golden.check(f"det{i}_boxes", detections[i].pred_boxes.tensor)
        golden.check(f"det{i}_scores", detections[i].scores)
        golden.check(f"det{i}_classes", detections[i].pred_classes)
        golden.check(f"det{i}_kept", kept[i])


def test_detections_of_class_agnostic_boxes_are_the_recorded_ones(golden: Golden) -> None:
    scores, deltas = recorded_predictions(golden)
    predictor = make_predictor(cls_agnostic_bbox_reg=True)
    # The recorded call had these thresholds, and no NaN.
    predictor.test_score_thresh, predictor.test_nms_thresh = 0.1, 0.4
    detections, _ = predictor.inference((scores, deltas[:, :4]), recorded_proposals(golden))
    golden.check("agn_boxes", detections[0].pred_boxes.tensor)
    golden.check("agn_scores", detections[0].scores)
    golden.check("agn_classes", detections[0].pred_classes)


def test_probabilities_and_refined_boxes_are_the_recorded_ones(golden: Golden) -> None:
    predictor, proposals = make_predictor(), recorded_proposals(golden)
    predictions = recorded_predictions(golden)
    golden.check("probs", torch.cat(predictor.predict_probs(predictions, proposals)))
    golden.check("pboxes0", predictor.predict_boxes(predictions, proposals)[0])
    chosen = predictor.predict_boxes_for_gt_classes(predictions, proposals)
    golden.check("gt_class_boxes", chosen[0])


def test_losses_are_the_recorded_ones_for_each_setting(golden: Golden) -> None:
    losses = []
    with EventStorage():
        for options in golden.params["losses"]:
            predictor = make_predictor(**options)
            losses.append(
                predictor.losses(recorded_predictions(golden), recorded_proposals(golden))
            )
        scores, deltas = recorded_predictions(golden)
        agnostic = make_predictor(cls_agnostic_bbox_reg=True)
        losses.append(agnostic.losses((scores, deltas[:, :4]), recorded_proposals(golden)))
    golden.check_json("losses", [{k: v.item() for k, v in x.items()} for x in losses])


def test_stored_accuracies_are_the_recorded_ones(golden: Golden) -> None:
    with EventStorage() as storage:
        make_predictor().losses(recorded_predictions(golden), recorded_proposals(golden))
        golden.check_json("storage", {k: v[0] for k, v in storage.latest().items()})


def test_forward_is_the_recorded_one(golden: Golden) -> None:
    predictor = weight_rule().fill(make_predictor())
    scores, deltas = predictor(golden.input("feat"))
    golden.check("fwd_scores", scores)
    golden.check("fwd_deltas", deltas)


def test_facts_are_the_recorded_ones(golden: Golden) -> None:
    predictor = make_predictor()
    no_regions = Instances(
        (80, 100),
        proposal_boxes=Boxes(torch.zeros(0, 4)),
        gt_boxes=Boxes(torch.zeros(0, 4)),
        gt_classes=torch.zeros(0, dtype=torch.int64),
    )
    empty = (torch.zeros(0, 5), torch.zeros(0, 16))
    agnostic = make_predictor(cls_agnostic_bbox_reg=True)
    with EventStorage():
        facts = {
            "names": list(predictor.state_dict()),
            "empty_list": exception_name(lambda: predictor.losses(empty, [])),
            "no_proposals_loss": {
                k: v.item() for k, v in predictor.losses(empty, [no_regions]).items()
            },
            "agnostic_shape": list(agnostic.bbox_pred.weight.shape),
        }
    golden.check_json("facts", facts)


def test_losses_without_regions_still_have_a_gradient() -> None:
    predictor = make_predictor()
    regions = Instances((8, 8), proposal_boxes=Boxes(torch.zeros(0, 4)))
    regions.gt_classes = torch.zeros(0, dtype=torch.int64)
    with EventStorage():
        losses = predictor.losses(predictor(torch.zeros(0, 8)), [regions])
    sum(losses.values()).backward()
    assert all(p.grad is not None and not p.grad.any() for p in predictor.parameters())


def test_background_regions_alone_give_no_box_loss() -> None:
    predictor = make_predictor()
    regions = Instances((8, 8), proposal_boxes=Boxes(torch.tensor([[0.0, 0, 4, 4]])))
    regions.gt_classes = torch.tensor([4])
    with EventStorage() as storage:
        losses = predictor.losses((torch.zeros(1, 5), torch.ones(1, 16)), [regions])
        assert set(storage.latest()) == {"fast_rcnn/cls_accuracy"}
    check_json("losses", {k: v.item() for k, v in losses.items()}, {
        "loss_cls": math.log(5),
        "loss_box_reg": 0.0,
    })  # fmt: skip


def test_detections_without_regions_are_empty() -> None:
    detections, kept = fast_rcnn_inference_single_image(
        torch.zeros(0, 16), torch.zeros(0, 5), (8, 8), 0.05, 0.5, 10
    )
    assert len(detections) == 0
    assert detections.pred_boxes.tensor.shape == (0, 4)
    assert kept.shape == (0,)


def test_negative_limit_keeps_all_detections() -> None:
    boxes = torch.tensor([[0.0, 0, 2, 2], [4, 4, 6, 6]])
    scores = torch.tensor([[0.3, 0.7], [0.6, 0.4]])
    detections, kept = fast_rcnn_inference_single_image(boxes, scores, (8, 8), 0.1, 0.5, -1)
    assert kept.tolist() == [1, 0]
    assert detections.scores.tolist() == pytest.approx([0.6, 0.3])


def test_sigmoid_scores_do_not_compete() -> None:
    predictor = make_predictor(use_sigmoid_ce=True)
    regions = Instances((8, 8), proposal_boxes=Boxes(torch.tensor([[0.0, 0, 4, 4]])))
    probs = predictor.predict_probs((torch.zeros(1, 5), torch.zeros(1, 16)), [regions])
    assert probs[0].tolist() == [[0.5] * 5]


def test_federated_loss_looks_at_present_and_drawn_classes_only() -> None:
    predictor = make_predictor(
        use_fed_loss=True,
        use_sigmoid_ce=True,
        get_fed_loss_cls_weights=lambda: torch.tensor([0.0, 0.0, 1.0, 0.0]),
        fed_loss_num_classes=2,
    )
    # Class 0 is present, only class 2 can be drawn: two classes of loss log 2 each.
    loss = predictor.sigmoid_cross_entropy_loss(torch.zeros(1, 5), torch.tensor([0]))
    assert loss.item() == pytest.approx(2 * math.log(2))
    assert "fed_loss_cls_weights" not in predictor.state_dict()


def test_federated_loss_takes_all_present_classes() -> None:
    classes = make_predictor().get_fed_loss_classes(torch.tensor([3, 1, 4, 1]), 2, 4, None)
    assert classes.tolist() == [1, 3, 4]


def test_federated_loss_without_sigmoid_is_refused() -> None:
    with pytest.raises(AssertionError, match="use_sigmoid_ce"):
        make_predictor(use_fed_loss=True, get_fed_loss_cls_weights=lambda: torch.ones(4))


def test_unknown_box_loss_is_refused() -> None:
    predictor = make_predictor(box_reg_loss_type="l7")
    regions = Instances((8, 8), proposal_boxes=Boxes(torch.zeros(1, 4)))
    regions.gt_classes = torch.tensor([0])
    with EventStorage(), pytest.raises(ValueError, match="l7"):
        predictor.losses((torch.zeros(1, 5), torch.zeros(1, 16)), [regions])
