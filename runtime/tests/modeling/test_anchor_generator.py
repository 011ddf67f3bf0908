from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from golden import Golden, exception_name

from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import ANCHOR_GENERATOR_REGISTRY, build_anchor_generator
from detectron2.modeling.anchor_generator import BufferList, DefaultAnchorGenerator


def feature_maps(*sizes: tuple[int, int]) -> list[torch.Tensor]:
    return [torch.zeros(1, 1, *size) for size in sizes]


@pytest.mark.parametrize("call", [0, 1])
def test_anchors_are_the_recorded_ones(call: int) -> None:
    golden = Golden("anchors")
    generator = DefaultAnchorGenerator(**golden.params["calls"][call])
    levels = generator(feature_maps(*golden.params["grid"]))
    for index, (level, cell) in enumerate(zip(levels, generator.cell_anchors, strict=True)):
        golden.check(f"{call}_{index}", level.tensor)
        golden.check(f"{call}_cell_{index}", cell)
    facts = golden.json("facts")[str(call)]
    assert generator.num_anchors == facts["num_anchors"]
    assert generator.num_cell_anchors == facts["num_cell_anchors"]
    assert generator.box_dim == facts["box_dim"]
    assert len(levels) == facts["features"]


def test_anchors_of_the_published_pyramid_configs() -> None:
    cfg = get_cfg()
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32], [64], [128], [256], [512]]
    shapes = [ShapeSpec(channels=256, stride=stride) for stride in (4, 8, 16, 32, 64)]
    generator = build_anchor_generator(cfg, shapes)
    Golden("anchors").check("fpn_cells", torch.cat(list(generator.cell_anchors)))
    assert generator.strides == [4, 8, 16, 32, 64]


def test_misuse_raises_the_recorded_exceptions() -> None:
    facts = Golden("anchors").json("facts")
    bad_levels: dict[str, Any] = {"sizes": [[8], [16]], "strides": [4, 8, 16]}
    bad_offset: dict[str, Any] = {"sizes": [[8]], "strides": [4], "offset": 1.0}
    for kwargs, name in ((bad_levels, "bad_levels"), (bad_offset, "bad_offset")):
        build = partial(DefaultAnchorGenerator, aspect_ratios=[[1.0]], **kwargs)
        assert exception_name(build) == facts[name]


def test_flat_lists_hold_for_all_levels() -> None:
    generator = DefaultAnchorGenerator(sizes=[32, 64], aspect_ratios=(0.5, 1.0), strides=[4, 8])
    first, second = generator.cell_anchors
    assert generator.num_anchors == [4, 4]
    assert torch.equal(first, second)


def test_one_pixel_has_its_anchor_at_the_origin() -> None:
    generator = DefaultAnchorGenerator(sizes=[[8]], aspect_ratios=[[1.0]], strides=[4], offset=0.0)
    (anchors,) = generator(feature_maps((1, 1)))
    assert anchors.tensor.tolist() == [[-4, -4, 4, 4]]


def test_an_empty_map_has_no_anchors() -> None:
    generator = DefaultAnchorGenerator(sizes=[[8]], aspect_ratios=[[1.0]], strides=[4])
    (anchors,) = generator(feature_maps((0, 3)))
    assert anchors.tensor.shape == (0, 4)


def test_columns_vary_faster_than_rows() -> None:
    generator = DefaultAnchorGenerator(sizes=[[2]], aspect_ratios=[[1.0]], strides=[10], offset=0.5)
    (anchors,) = generator(feature_maps((2, 2)))
    assert anchors.get_centers().tolist() == [[5, 5], [15, 5], [5, 15], [15, 15]]


def test_another_number_of_feature_maps_is_refused() -> None:
    generator = DefaultAnchorGenerator(sizes=[[8]], aspect_ratios=[[1.0]], strides=[4, 8])
    with pytest.raises(ValueError, match="1 feature maps for the anchors of 2 levels"):
        generator(feature_maps((2, 2)))


def test_ratios_keep_the_area() -> None:
    generator = DefaultAnchorGenerator(sizes=[[8]], aspect_ratios=[[1.0]], strides=[4])
    anchors = generator.generate_cell_anchors(sizes=(10, 20), aspect_ratios=(0.5, 1, 2))
    sides = anchors[:, 2:] - anchors[:, :2]
    torch.testing.assert_close(sides.prod(1), torch.tensor([100.0] * 3 + [400.0] * 3))
    torch.testing.assert_close(sides[:, 1] / sides[:, 0], torch.tensor([0.5, 1, 2] * 2))


def test_buffers_follow_the_module_but_are_not_saved() -> None:
    buffers = BufferList([torch.zeros(2), torch.ones(3)])
    assert len(buffers) == 2
    assert not buffers.state_dict()
    assert [buffer.dtype for buffer in buffers.double()] == [torch.float64] * 2


def test_the_host_never_waits_for_anchors() -> None:
    # Tensors on the meta device have no values that could be waited for.
    generator = DefaultAnchorGenerator(sizes=[[8]], aspect_ratios=[[1.0]], strides=[4])
    (anchors,) = generator.to("meta")([torch.zeros(1, 1, 2, 3, device="meta")])
    assert anchors.tensor.shape == (6, 4)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    cfg = get_cfg()
    cfg.MODEL.ANCHOR_GENERATOR.NAME = "Other"
    with pytest.raises(KeyError, match=r"ANCHOR_GENERATOR.NAME = 'Other'.*DefaultAnchorGenerator"):
        build_anchor_generator(cfg, [ShapeSpec(stride=4)])
    assert "DefaultAnchorGenerator" in ANCHOR_GENERATOR_REGISTRY
