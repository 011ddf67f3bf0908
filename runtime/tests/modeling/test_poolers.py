from __future__ import annotations

from typing import Any

import pytest
import torch
from golden import Golden, exception_name

from detectron2.modeling.poolers import (
    ROIPooler,
    assign_boxes_to_levels,
    convert_boxes_to_pooler_format,
)
from detectron2.structures import Boxes

BOX = [[0.0, 0.0, 8.0, 8.0]]


def pooler(**changes: Any) -> ROIPooler:
    arguments = {
        "output_size": 2,
        "scales": [1 / 4, 1 / 8],
        "sampling_ratio": 0,
        "pooler_type": "ROIAlignV2",
    }
    return ROIPooler(**{**arguments, **changes})


def pyramid(num_images: int = 1) -> list[torch.Tensor]:
    return [torch.rand(num_images, 3, size, size, requires_grad=True) for size in (8, 4)]


def test_pooled_features_are_the_recorded_ones() -> None:
    golden = Golden("roi_pooler")
    features = [golden.input(f"f{i}") for i in range(4)]
    boxes = [Boxes(golden.input("boxes0")), Boxes(golden.input("boxes1"))]
    module = pooler(output_size=7, scales=golden.params["scales"])
    golden.check("pooled", module(features, boxes))
    golden.check("format", convert_boxes_to_pooler_format(boxes))
    v1 = pooler(output_size=5, scales=[1 / 8], pooler_type="ROIAlign")
    golden.check("v1", v1([features[1]], boxes))


def test_levels_are_the_recorded_ones() -> None:
    golden = Golden("roi_pooler")
    boxes = [Boxes(golden.input("level_boxes"))]
    golden.check("levels", assign_boxes_to_levels(boxes, 2, 5, 224, 4))


def test_absence_and_misuse_are_as_recorded() -> None:
    golden = Golden("roi_pooler")
    facts, none = golden.json("facts"), Boxes(torch.zeros(0, 4))
    features = [golden.input(f"f{i}") for i in range(4)]
    module = pooler(output_size=7, scales=golden.params["scales"])
    assert list(module(features, [none, none]).shape) == facts["no_boxes_shape"]
    assert exception_name(lambda: module(features, [])) == facts["no_images"]
    assert exception_name(lambda: pooler(pooler_type="ROIMean")) == facts["bad_type"]
    assert exception_name(lambda: pooler(scales=[1 / 4, 1 / 16])) == facts["uneven_scales"]
    assert exception_name(lambda: pooler(scales=[1 / 3])) == facts["not_pow2"]


def test_boxes_of_several_levels_keep_their_order() -> None:
    # Constant maps: each box's features tell the level that it was pooled from.
    features = [torch.full((1, 1, 64, 64), 4.0), torch.full((1, 1, 32, 32), 8.0)]
    boxes = torch.tensor([[0, 0, 250, 250], [0, 0, 9, 9], [0, 0, 240, 240], [0, 0, 8, 8]])
    module = pooler(canonical_level=3, canonical_box_size=128)
    pooled = module(
        [feature.expand(2, -1, -1, -1) for feature in features],
        [Boxes(boxes[:1]), Boxes(boxes[1:])],
    )
    assert pooled.mean(dim=(1, 2, 3)).tolist() == [8, 4, 8, 4]


def test_every_level_gets_a_gradient() -> None:
    for boxes in (torch.zeros(0, 4), torch.tensor(BOX)):
        features = pyramid()
        pooler()(features, [Boxes(boxes)]).sum().backward()
        assert all(feature.grad is not None for feature in features)


def test_an_image_without_boxes_keeps_the_others_in_place() -> None:
    features = [torch.tensor([1.0, 2.0]).view(2, 1, 1, 1).expand(2, 1, 8, 8)]
    boxes = [Boxes(torch.zeros(0, 4)), Boxes(torch.tensor(BOX))]
    assert pooler(scales=[1 / 4])(features, boxes).unique().tolist() == [2]


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_traced_pooler_takes_any_boxes() -> None:
    import torchvision  # noqa: F401 (its first import cannot be traced)

    module = pooler(canonical_level=3, canonical_box_size=16)
    features = [feature.detach() for feature in pyramid()]

    def pool(boxes: torch.Tensor) -> torch.Tensor:
        return module(features, [Boxes(boxes)])

    traced = torch.jit.trace(pool, torch.tensor(BOX), check_trace=False)
    boxes = torch.tensor([[0.0, 0, 30, 30], [0, 0, 4, 4], [2, 3, 25, 20]])
    assert torch.equal(traced(boxes), pool(boxes))
    assert traced(boxes[:0]).shape == (0, 3, 2, 2)


def test_boxes_without_area_belong_to_the_finest_level() -> None:
    boxes = [Boxes(torch.zeros(1, 4)), Boxes(torch.zeros(0, 4))]
    assert assign_boxes_to_levels(boxes, 2, 5, 224, 4).tolist() == [0]


def test_a_map_of_one_pixel_can_be_pooled() -> None:
    module = pooler(scales=[1 / 8])
    pooled = module([torch.full((1, 1, 1, 1), 5.0)], [Boxes(torch.tensor(BOX))])
    assert torch.equal(pooled, torch.full((1, 1, 2, 2), 5.0))


def test_roi_pool_takes_the_maximum() -> None:
    feature = torch.arange(16.0).view(1, 1, 4, 4)
    boxes = Boxes(torch.tensor([[0.0, 0.0, 3.0, 3.0]]))  # corners are inclusive pixels here
    pooled = pooler(scales=[1.0], pooler_type="ROIPool")([feature], [boxes])
    assert pooled.flatten().tolist() == [5, 7, 13, 15]


@pytest.mark.parametrize(
    ("features", "boxes", "message"),
    [
        (tuple(pyramid()), [Boxes(torch.tensor(BOX))], "must be a list"),
        (pyramid(), (Boxes(torch.tensor(BOX)),), "must be a list"),
        (pyramid()[:1], [Boxes(torch.tensor(BOX))], "1 feature maps for 2 levels"),
        (pyramid(), [Boxes(torch.tensor(BOX))] * 2, "boxes of 2 images for a batch of 1"),
    ],
)
def test_wrong_inputs_are_refused(features: Any, boxes: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        pooler()(features, boxes)


def test_an_unknown_type_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'ROIMean' is unknown.*ROIAlignV2"):
        pooler(pooler_type="ROIMean")


def test_scales_must_descend() -> None:
    with pytest.raises(AssertionError, match="do not halve"):
        pooler(scales=[1 / 8, 1 / 4])
