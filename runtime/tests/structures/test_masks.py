"""Masks as bitmaps, polygons, and within boxes."""

from typing import Any

import numpy as np
import pytest
import torch
from golden import Golden, exception_name

from detectron2.structures import (
    BitMasks,
    Boxes,
    PolygonMasks,
    ROIMasks,
    polygons_to_bitmask,
)
from detectron2.structures.masks import polygon_area, rasterize_polygons_within_box

SQUARE = np.array([0.0, 0, 4, 0, 4, 4, 0, 4])
TRIANGLE = np.array([1.0, 1, 2, 1, 2, 2])


class TestPolygonMasks:
    @pytest.fixture
    def golden(self) -> Golden:
        return Golden("polygon_masks")

    @pytest.fixture
    def polygons(self, golden: Golden) -> PolygonMasks:
        return PolygonMasks(golden.params["polygons"])

    def test_measures_and_rasters_equal_the_recorded_ones(
        self, golden: Golden, polygons: PolygonMasks
    ) -> None:
        golden.check("area", polygons.area())
        golden.check("bbox", polygons.get_bounding_boxes().tensor)
        golden.check("nonempty", polygons.nonempty())
        crops = polygons.crop_and_resize(golden.input("boxes"), golden.params["mask_size"])
        golden.check("crop", crops)
        size = golden.params["size"]
        rasters = [polygons_to_bitmask(instance, *size) for instance in polygons]
        golden.check("bitmask", np.stack(rasters))
        golden.check("bitmasks", BitMasks.from_polygon_masks(polygons, *size).tensor)
        golden.check("bitmasks", BitMasks.from_polygon_masks(polygons.polygons, *size).tensor)

    def test_facts_are_the_recorded_ones(self, golden: Golden, polygons: PolygonMasks) -> None:
        selected = polygons[torch.tensor([True, False, True, False])]
        golden.check("sub_area", selected.area())
        golden.check("index_area", polygons[torch.tensor([3, 0])].area())
        without = PolygonMasks([[]])
        golden.check_json(
            "facts",
            {
                "len": len(polygons),
                "sub_len": len(selected),
                "cat_len": len(PolygonMasks.cat([polygons, selected])),
                "int_len": len(polygons[1]),
                "poly_dtype": str(polygons.polygons[0][0].dtype),
                "iter_type": type(next(iter(polygons))).__name__,
                "odd_coords": exception_name(lambda: PolygonMasks([[np.zeros(7)]])),
                "few_coords": exception_name(lambda: PolygonMasks([[np.zeros(4)]])),
                "not_list": exception_name(lambda: PolygonMasks(np.zeros(6))),  # type: ignore[arg-type]
                "area_of_empty_list_instance": without.area().tolist(),
                "nonempty_of_empty": without.nonempty().tolist(),
            },
        )

    @pytest.mark.parametrize(
        ("item", "expected"),
        [
            (0, [0]),
            (-1, [2]),
            (slice(1, 3), [1, 2]),
            ([2, 0], [2, 0]),
            ([], []),
            (np.array([1]), [1]),
            (torch.tensor([2, 2]), [2, 2]),
            (torch.tensor([True, False, True]), [0, 2]),
            (torch.zeros(0, dtype=torch.long), []),
        ],
    )
    def test_an_index_selects_instances(self, item: Any, expected: list[int]) -> None:
        masks = PolygonMasks([[SQUARE + i] for i in range(3)])
        assert [instance[0][0] for instance in masks[item]] == expected

    @pytest.mark.parametrize(
        "item",
        ["a", torch.tensor([0.5]), torch.zeros(1, 2).bool(), torch.zeros(2, dtype=torch.uint8)],
    )
    def test_other_indices_are_refused(self, item: Any) -> None:
        with pytest.raises(ValueError, match="index with an int, slice"):
            PolygonMasks([[SQUARE], [SQUARE]])[item]

    def test_nothing_has_empty_measures(self) -> None:
        masks = PolygonMasks([])
        assert len(masks) == 0
        assert masks.area().shape == masks.nonempty().shape == (0,)
        assert masks.get_bounding_boxes().tensor.shape == (0, 4)
        assert masks.crop_and_resize(torch.zeros(0, 4), 7).shape == (0, 7, 7)

    def test_an_instance_without_polygons_has_a_box_of_zeros(self) -> None:
        masks = PolygonMasks([[], [TRIANGLE, SQUARE]])
        assert masks.get_bounding_boxes().tensor.tolist() == [[0, 0, 0, 0], [0, 0, 4, 4]]
        assert masks.area().tolist() == [0, 16.5]

    def test_a_box_is_tight_left_of_the_image_too(self) -> None:
        assert PolygonMasks([[SQUARE - 9]]).get_bounding_boxes().tensor.tolist() == [
            [-9, -9, -5, -5]
        ]

    def test_tensors_and_lists_become_float64_arrays(self) -> None:
        masks = PolygonMasks([[torch.arange(6)], [[0, 1, 2, 3, 4, 5]]])
        assert [p[0].dtype for p in masks] == [np.float64, np.float64]
        assert masks.polygons[0][0].tolist() == masks.polygons[1][0].tolist()

    def test_polygons_stay_on_the_cpu(self) -> None:
        masks = PolygonMasks([[SQUARE]])
        assert masks.to("cuda") is masks
        assert masks.device == torch.device("cpu")

    def test_cat_wants_polygon_masks(self) -> None:
        with pytest.raises(AssertionError, match="int"):
            PolygonMasks.cat([PolygonMasks([]), 3])  # type: ignore[list-item]
        with pytest.raises(AssertionError, match="at least one"):
            PolygonMasks.cat([])

    def test_boxes_must_be_as_many(self) -> None:
        with pytest.raises(AssertionError, match="1 masks want as many boxes, not 2"):
            PolygonMasks([[SQUARE]]).crop_and_resize(torch.zeros(2, 4), 7)

    def test_boxes_come_as_boxes_too(self) -> None:
        masks, box = PolygonMasks([[SQUARE]]), torch.tensor([[0.0, 0, 8, 8]])
        crops = masks.crop_and_resize(Boxes(box), 8)
        assert torch.equal(crops, masks.crop_and_resize(box, 8))
        assert crops.sum() == 16

    @pytest.mark.parametrize(("dtype", "rows"), [(torch.float32, 10), (torch.float64, 11)])
    def test_borders_between_pixels_follow_the_precision_of_the_box(
        self, dtype: torch.dtype, rows: int
    ) -> None:
        # 15 of 20 pixels at 14 pixels a side end at 10.5; the float32 nearest to 14 / 20 is less.
        masks = PolygonMasks([[np.array([0.0, 0, 20, 0, 20, 15, 0, 15])]])
        crop = masks.crop_and_resize(torch.tensor([[0, 0, 20, 20]], dtype=dtype), 14)
        assert crop[0].any(dim=1).sum() == rows

    def test_a_list_of_arrays_is_no_list_of_instances(self) -> None:
        with pytest.raises(ValueError, match="list of arrays"):
            PolygonMasks([SQUARE])  # type: ignore[list-item]


def test_area_of_a_triangle_and_of_a_turned_square() -> None:
    assert polygon_area(TRIANGLE[0::2], TRIANGLE[1::2]) == 0.5
    assert polygon_area(SQUARE[0::2][::-1], SQUARE[1::2][::-1]) == 16


def test_no_polygons_make_an_empty_bitmask() -> None:
    raster = polygons_to_bitmask([], 3, 4)
    assert raster.dtype == bool
    assert raster.tolist() == [[False] * 4] * 3


def test_the_crop_of_a_box_is_stretched_to_a_square() -> None:
    # The right half of the box (0, 0, 8, 2) is beyond the polygon.
    crop = rasterize_polygons_within_box([SQUARE], np.array([0.0, 0, 8, 2]), 4)
    assert crop.tolist() == [[True, True, False, False]] * 4


def test_a_box_without_area_gives_a_crop_all_the_same() -> None:
    assert rasterize_polygons_within_box([SQUARE], np.array([1.0, 1, 1, 1]), 4).shape == (4, 4)


class TestBitMasks:
    @pytest.fixture
    def golden(self) -> Golden:
        return Golden("bit_masks")

    def test_results_equal_the_recorded_ones(self, golden: Golden) -> None:
        masks, boxes = BitMasks(golden.input("masks")), golden.input("boxes")
        golden.check("bbox", masks.get_bounding_boxes().tensor)
        golden.check("nonempty", masks.nonempty())
        golden.check("crop", masks.crop_and_resize(boxes, golden.params["mask_size"]))
        golden.check("cat", BitMasks.cat([masks, masks[1]]).tensor)
        roi_masks = ROIMasks(golden.input("roi_masks"))
        golden.check("from_roi", roi_masks.to_bitmasks(Boxes(boxes), 40, 56, 0.5).tensor)
        golden.check("from_roi", roi_masks.to_bitmasks(boxes, 40, 56).tensor)

    def test_selection_equals_the_recorded_one(self, golden: Golden) -> None:
        masks = BitMasks(golden.input("masks"))
        golden.check("index", masks[torch.tensor([3, 0])].tensor)
        kept = masks[torch.tensor([True, False, False, True])]
        assert torch.equal(kept.tensor, masks[[0, 3]].tensor)

    def test_facts_are_the_recorded_ones(self, golden: Golden) -> None:
        masks = BitMasks(golden.input("masks"))
        golden.check_json(
            "facts",
            {
                "len": len(masks),
                "int_index_shape": list(masks[0].tensor.shape),
                "size": list(masks.image_size),
                "float_in_dtype": str(BitMasks(torch.rand(1, 2, 2)).tensor.dtype),
                "bad_dim": exception_name(lambda: BitMasks(torch.zeros(2, 2))),
                "bbox_type": type(masks.get_bounding_boxes()).__name__,
                "iter_shape": list(next(iter(masks)).shape),
                "roi_bad_shape": exception_name(lambda: ROIMasks(torch.zeros(1, 2, 3))),
            },
        )

    @pytest.mark.parametrize("seed", range(3))
    def test_bounding_boxes_touch_the_outermost_pixels(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        masks = torch.rand(6, 5, 7, generator=generator) > 0.9
        masks[0] = False
        masks[1] = True
        for mask, box in zip(masks, BitMasks(masks).get_bounding_boxes(), strict=True):
            rows, columns = mask.nonzero(as_tuple=True)
            ends = [0, 0, 0, 0]
            if len(rows):
                ends = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert box.tolist() == ends

    @pytest.mark.parametrize("shape", [(0, 4, 5), (2, 0, 5), (2, 4, 0)])
    def test_no_pixels_have_boxes_of_zeros(self, shape: tuple[int, int, int]) -> None:
        masks = BitMasks(torch.zeros(shape))
        assert masks.get_bounding_boxes().tensor.tolist() == [[0, 0, 0, 0]] * shape[0]
        assert not masks.nonempty().any()

    def test_no_masks_have_no_crops(self) -> None:
        crops = BitMasks(torch.zeros(0, 4, 5)).crop_and_resize(torch.zeros(0, 4), 7)
        assert crops.shape == (0, 7, 7)
        assert crops.dtype == torch.bool

    def test_polygons_of_no_instance_make_no_masks(self) -> None:
        assert BitMasks.from_polygon_masks([], 4, 5).tensor.shape == (0, 4, 5)
        assert not BitMasks.from_polygon_masks([[]], 4, 5).nonempty().any()

    def test_an_index_that_leaves_no_stack_is_refused(self) -> None:
        with pytest.raises(AssertionError, match=r"shape \(4, 5\)"):
            BitMasks(torch.zeros(2, 4, 5))[torch.tensor(1)]

    def test_masks_of_boxes_need_the_boxes_to_be_pasted(self) -> None:
        with pytest.raises(TypeError, match="to_bitmasks"):
            BitMasks.from_roi_masks(ROIMasks(torch.zeros(1, 2, 2)), 4, 5)

    def test_as_many_boxes_are_wanted(self) -> None:
        with pytest.raises(AssertionError, match="2 masks want as many boxes, not 1"):
            BitMasks(torch.zeros(2, 4, 5)).crop_and_resize(torch.zeros(1, 4), 7)


class TestROIMasks:
    def test_a_slice_or_tensor_selects(self) -> None:
        masks = ROIMasks(torch.rand(3, 2, 2))
        assert torch.equal(masks[1:].tensor, masks.tensor[1:])
        assert torch.equal(masks[torch.tensor([2])].tensor, masks.tensor[2:])
        assert (len(masks), str(masks)) == (3, "ROIMasks(num_instances=3)")

    @pytest.mark.parametrize("item", [0, (0, 1)])
    def test_an_index_that_leaves_no_stack_is_refused(self, item: Any) -> None:
        with pytest.raises(ValueError, match="index with a slice"):
            ROIMasks(torch.rand(3, 2, 2))[item]

    def test_four_dimensions_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"\(3, 1, 2, 2\)"):
            ROIMasks(torch.zeros(3, 1, 2, 2))

    def test_no_masks_paste_to_none(self) -> None:
        pasted = ROIMasks(torch.zeros(0, 7, 7)).to_bitmasks(Boxes([]), 4, 5)
        assert pasted.tensor.shape == (0, 4, 5)
        assert pasted.tensor.dtype == torch.bool
