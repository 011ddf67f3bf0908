"""Targets made on the device: the values that the loader's generator gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from golden import Golden

from seg_projects.data.panoptic_deeplab_targets import PanopticDeepLabTargetGenerator
from seg_projects.modeling.instance_heads.device_targets import device_targets

FIELDS = ("sem_seg", "center", "offset", "sem_seg_weights", "center_weights", "offset_weights")
SETTINGS: dict[str, Any] = {
    "ignore_label": 255,
    "thing_ids": [0, 2],
    "sigma": 1,
    "ignore_stuff_in_offset": True,
    "small_instance_area": 3,
    "small_instance_weight": 4,
    "ignore_crowd_in_semantic": True,
}
DEFAULTS: dict[str, Any] = {
    "sigma": 8,
    "ignore_stuff_in_offset": False,
    "small_instance_area": 0,
    "small_instance_weight": 1,
    "ignore_crowd_in_semantic": False,
}


def _equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for field in FIELDS:
        assert found[field].dtype == expected[field].dtype
        torch.testing.assert_close(found[field], expected[field], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("call", "image"), [(0, 0), (1, 1), (2, 1), (3, 1)])
def test_targets_are_the_recorded_ones(call: int, image: int) -> None:
    case = Golden("pdl_targets")
    ids = torch.from_numpy(case.input_array(f"pan{image}").astype(np.int32))
    settings = DEFAULTS | case.params["calls"][call]
    found = device_targets(ids, case.params["segments"][image], **settings)
    for field in FIELDS:
        case.check(f"{call}_{image}_{field}", found[field])


@pytest.mark.parametrize("stuff_ignored", [False, True])
def test_random_maps_give_what_the_loader_gives(stuff_ignored: bool) -> None:
    rng = np.random.default_rng(0)
    settings = SETTINGS | {"ignore_stuff_in_offset": stuff_ignored}
    for _ in range(20):
        ids = rng.choice([0, 7, 70000, 300, 2**24 - 1], (5, 6)).astype(np.int32)
        segments = [
            {"id": i, "category_id": c, "iscrowd": int(rng.integers(2))}
            for i, c in ((2**24 - 1, 2), (7, 0), (300, 5), (12, 0))
        ]
        generate = PanopticDeepLabTargetGenerator(**settings)
        found = device_targets(torch.from_numpy(ids), segments, **settings)
        _equal(found, generate(ids, segments))


@pytest.mark.parametrize("size", [(1, 1), (2, 3)])
def test_map_without_segments_is_void(size: tuple[int, int]) -> None:
    ids = np.zeros(size, dtype=np.int32)
    found = device_targets(torch.from_numpy(ids), [], **SETTINGS)
    _equal(found, PanopticDeepLabTargetGenerator(**SETTINGS)(ids, []))
