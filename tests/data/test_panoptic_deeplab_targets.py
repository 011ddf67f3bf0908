"""Panoptic-DeepLab's targets: the recorded ones, and small maps whose values are countable."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from golden import Golden

from seg_projects.data import panoptic_deeplab_targets
from seg_projects.data.panoptic_deeplab_targets import PanopticDeepLabTargetGenerator

FIELDS = ("sem_seg", "center", "offset", "sem_seg_weights", "center_weights", "offset_weights")


def _segment(id_: int, category: int, *, crowd: int = 0) -> dict[str, Any]:
    return {"id": id_, "category_id": category, "iscrowd": crowd}


@pytest.mark.parametrize(("call", "image"), [(0, 0), (1, 1), (2, 1), (3, 1)])
def test_targets_are_the_recorded_ones(call: int, image: int) -> None:
    case = Golden("pdl_targets")
    assert [call, image] in case.params["pairs"]
    generate = PanopticDeepLabTargetGenerator(**case.params["calls"][call])
    targets = generate(case.input_array(f"pan{image}"), case.params["segments"][image])
    for field in FIELDS:
        case.check(f"{call}_{image}_{field}", targets[field])
        if image == 1 and call == 1:
            assert str(targets[field].dtype) == case.json("facts")["dtypes"][field]
            assert list(targets[field].shape) == case.json("facts")["shapes"][field]
    case.check(f"{call}_{image}_center_points", np.array(targets["center_points"]))
    assert set(targets) == set(case.json("facts")["keys"])
    assert type(targets["center_points"]).__name__ == case.json("facts")["center_points_type"]


def test_offsets_lead_from_each_pixel_to_the_mean_of_its_thing() -> None:
    ids = np.array([[7, 7, 0], [7, 9, 9]])
    generate = PanopticDeepLabTargetGenerator(ignore_label=255, thing_ids=[1])
    targets = generate(ids, [_segment(7, 1), _segment(9, 4)])
    # 7 has the pixels (0, 0), (0, 1), (1, 0); 9 is stuff, 0 is nothing.
    third = 1 / 3
    assert targets["center_points"] == [[third, third]]
    dy = torch.tensor([[third, third, 0], [third - 1, 0, 0]])
    dx = torch.tensor([[third, third - 1, 0], [third, 0, 0]])
    torch.testing.assert_close(targets["offset"], torch.stack([dy, dx]))
    assert targets["sem_seg"].tolist() == [[1, 1, 255], [1, 4, 4]]
    assert targets["offset_weights"].tolist() == [[[1, 1, 0], [1, 1, 1]]]


def test_an_image_of_one_column_has_its_rows() -> None:
    generate = PanopticDeepLabTargetGenerator(ignore_label=255, thing_ids=[1])
    targets = generate(np.array([[7], [7], [7], [0]]), [_segment(7, 1)])
    assert targets["center_points"] == [[1, 0]]
    assert targets["offset"].flatten(1).tolist() == [[1, 0, -1, 0], [0, 0, 0, 0]]
    assert targets["sem_seg"].flatten().tolist() == [1, 1, 1, 255]


def test_peaks_are_cut_at_the_border_and_the_higher_one_counts() -> None:
    ids = np.array([[1, 0, 2]])
    generate = PanopticDeepLabTargetGenerator(ignore_label=255, thing_ids=[0], sigma=1)
    center = generate(ids, [_segment(1, 0), _segment(2, 0)])["center"]
    torch.testing.assert_close(center, torch.tensor([[1, np.exp(-0.5), 1]], dtype=torch.float32))


def test_center_half_way_goes_to_the_even_pixel() -> None:
    ids = np.array([[0, 1, 1, 0]])  # the mean of 1 and 2 is 1.5
    generate = PanopticDeepLabTargetGenerator(ignore_label=255, thing_ids=[0], sigma=1)
    assert generate(ids, [_segment(1, 0)])["center"].argmax() == 2


@pytest.mark.parametrize("ignored", [False, True])
def test_crowds_weigh_nothing_but_keep_peak_and_offsets(ignored: bool) -> None:
    ids = np.full((3, 3), 5)
    generate = PanopticDeepLabTargetGenerator(
        ignore_label=255, thing_ids=[2], ignore_crowd_in_semantic=ignored
    )
    targets = generate(ids, [_segment(5, 2, crowd=1)])
    assert not targets["center_weights"].any()
    assert not targets["offset_weights"].any()
    assert targets["center"].max() == 1
    assert targets["offset"][0, :, 0].tolist() == [1, 0, -1]
    assert targets["sem_seg"].unique().tolist() == [255 if ignored else 2]


def test_small_things_weigh_more_and_stuff_has_no_offset() -> None:
    ids = np.array([[1, 2, 2, 3]])
    generate = PanopticDeepLabTargetGenerator(
        255, [0], ignore_stuff_in_offset=True, small_instance_area=2, small_instance_weight=3
    )
    # 1 has one pixel, less than 2; 2 has two; 3 is stuff, however small.
    targets = generate(ids, [_segment(1, 0), _segment(2, 0), _segment(3, 9)])
    assert targets["sem_seg_weights"].tolist() == [[3, 1, 1, 1]]
    assert targets["offset_weights"].tolist() == [[[1, 1, 1, 0]]]
    assert targets["center_weights"].tolist() == [[[1, 1, 1, 1]]]


def test_image_without_segments_is_void() -> None:
    generate = PanopticDeepLabTargetGenerator(ignore_label=255, thing_ids=[0])
    targets = generate(np.zeros((2, 3), dtype=np.int32), [])
    assert targets["sem_seg"].unique().tolist() == [255]
    assert targets["center_points"] == []
    assert not any(targets[name].any() for name in FIELDS if name.startswith(("cen", "off")))


def test_segment_that_the_map_does_not_show_has_no_centre() -> None:
    generate = PanopticDeepLabTargetGenerator(ignore_label=255, thing_ids=[0])
    targets = generate(np.ones((2, 2), dtype=np.int32), [_segment(1, 0), _segment(8, 0)])
    assert targets["center_points"] == [[0.5, 0.5]]


def test_input_is_left_alone() -> None:
    ids = np.arange(6).reshape(2, 3)
    generate = PanopticDeepLabTargetGenerator(ignore_label=255, thing_ids=[0])
    generate(ids, [_segment(3, 0)])
    assert ids.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_compiled_loops_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba", reason="pip install -e .[fast]")
    rng = np.random.default_rng(0)
    segments = [_segment(7, 1), _segment(2**24 - 1, 0, crowd=1), _segment(300, 5), _segment(8, 1)]
    settings: dict[str, Any] = {"small_instance_area": 9, "small_instance_weight": 3, "sigma": 1}
    for ignored in (False, True):
        generate = PanopticDeepLabTargetGenerator(
            255, [0, 1], **settings, ignore_stuff_in_offset=ignored
        )
        # Columns are repeated, so that there are runs of several pixels.
        ids = rng.choice([0, 7, 8, 300, 2**24 - 1], (9, 5)).repeat(3, axis=1).astype(np.int32)
        monkeypatch.setattr(panoptic_deeplab_targets, "KERNELS_FROM", 1 << 40)
        expected = generate(ids, segments)
        monkeypatch.setattr(panoptic_deeplab_targets, "KERNELS_FROM", 0)
        found = generate(ids, segments)
        assert found["center_points"] == expected["center_points"]
        for field in FIELDS:
            assert found[field].dtype == expected[field].dtype
            assert torch.equal(found[field], expected[field]), field
        assert generate(np.zeros((2, 3), dtype=np.int32), [])["sem_seg"].unique().tolist() == [255]
