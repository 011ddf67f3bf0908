"""Results of the network's input size at the size that the user wants."""

from __future__ import annotations

import pytest
import torch
from golden import Golden, exception_name

from detectron2.modeling.postprocessing import detector_postprocess, sem_seg_postprocess
from detectron2.structures import Boxes, Instances, ROIMasks


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden("postprocess")


def recorded_detections(golden: Golden) -> Instances:
    return Instances(
        tuple(golden.params["size"]),
        pred_boxes=Boxes(golden.input("boxes")),
        scores=golden.input("scores"),
        pred_classes=torch.arange(5),
        pred_masks=golden.input("masks"),
    )


def test_detections_are_the_recorded_ones(golden: Golden) -> None:
    height, width = golden.params["out"]
    result = detector_postprocess(recorded_detections(golden), height, width)
    golden.check("boxes", result.pred_boxes.tensor)
    golden.check("scores", result.scores)
    golden.check("masks", result.pred_masks)


def test_mask_threshold_is_obeyed(golden: Golden) -> None:
    height, width = golden.params["out"]
    result = detector_postprocess(recorded_detections(golden), height, width, mask_threshold=0.3)
    golden.check("masks3", result.pred_masks)


def test_proposals_are_the_recorded_ones(golden: Golden) -> None:
    proposals = Instances(tuple(golden.params["size"]), proposal_boxes=Boxes(golden.input("boxes")))
    result = detector_postprocess(proposals, *golden.params["out"])
    golden.check("proposal_boxes", result.proposal_boxes.tensor)


def test_semantic_scores_are_the_recorded_ones(golden: Golden) -> None:
    size, out = tuple(golden.params["size"]), golden.params["out"]
    golden.check("sem", sem_seg_postprocess(golden.input("sem"), size, *out))


def test_facts_are_the_recorded_ones(golden: Golden) -> None:
    detections = recorded_detections(golden)
    result = detector_postprocess(detections, *golden.params["out"])
    no_boxes = Instances((4, 4), scores=torch.zeros(1))
    facts = {
        "image_size": list(result.image_size),
        "fields": list(result.get_fields()),
        "mask_dtype": str(result.pred_masks.dtype),
        "boxes_modified_in_place": not torch.equal(
            detections.pred_boxes.tensor, golden.input("boxes")
        ),
        "no_boxes": exception_name(lambda: detector_postprocess(no_boxes, 4, 4)),
    }
    golden.check_json("facts", facts)


def test_region_masks_are_taken_as_they_are(golden: Golden) -> None:
    height, width = golden.params["out"]
    detections = recorded_detections(golden)
    detections.pred_masks = ROIMasks(detections.pred_masks[:, 0])
    golden.check("masks", detector_postprocess(detections, height, width).pred_masks)


def test_no_detections_stay_none() -> None:
    detections = Instances(
        (4, 4), pred_boxes=Boxes(torch.zeros(0, 4)), pred_masks=torch.zeros(0, 1, 28, 28)
    )
    result = detector_postprocess(detections, 6, 8)
    assert result.image_size == (6, 8)
    assert result.pred_masks.shape == (0, 6, 8)


def test_padding_has_no_effect_on_semantic_scores() -> None:
    scores = torch.full((2, 4, 4), float("nan"))
    scores[:, :1, :1] = 3
    assert sem_seg_postprocess(scores, (1, 1), 2, 3).eq(3).all()


def test_semantic_scores_of_the_wanted_size_stay_as_they_are() -> None:
    scores = torch.randn(3, 4, 6)
    kept = sem_seg_postprocess(scores, (4, 5), 4, 5)
    assert torch.equal(kept, scores[:, :, :5])
    assert kept.is_contiguous()
