"""The mapper: what of the id PNG becomes instances and what semantic labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detectron2.data import transforms as T
from seg_projects.data import PanopticMapper
from seg_projects.data.datasets.panoptic import load_panoptic_records
from seg_projects.errors import UserError


def _mapper(*augmentations: Any, is_train: bool = True) -> PanopticMapper:
    return PanopticMapper(
        is_train=is_train,
        augmentations=augmentations,
        image_format="BGR",
        thing_ids={3: 0, 8: 1},
        stuff_ids={0: 0, 5: 1, 11: 2},
        ignore_label=255,
    )


@pytest.fixture
def records(tmp_path: Path, write_panoptic: Any) -> list[dict[str, Any]]:
    """A scene with two things, one stuff and void, one with a crowd, one that is all void."""
    things = (
        np.array([[1, 1, 300, 0], [70000, 1, 300, 0]]),
        [(1, 8, 0), (300, 5, 0), (70000, 3, 0)],
    )
    crowd = (np.array([[4, 4], [4, 9]]), [(4, 3, 1), (9, 8, 0)])
    void = (np.zeros((1, 1), dtype=int), [])
    path = write_panoptic(tmp_path / "set", [things, crowd, void])
    return load_panoptic_records(
        path, image_root=tmp_path / "set/images", panoptic_root=tmp_path / "set/masks"
    )


def test_things_become_instances_and_stuff_becomes_labels(records):
    out = _mapper()(records[0])
    assert out["image"].shape == (3, 2, 4)
    assert out["instances"].gt_classes.tolist() == [1, 0]
    assert out["instances"].gt_boxes.tensor.tolist() == [[0, 0, 2, 2], [0, 1, 1, 2]]
    assert out["instances"].gt_masks.tensor[0].tolist() == [
        [True, True, False, False],
        [False, True, False, False],
    ]
    assert out["sem_seg"].tolist() == [[0, 0, 1, 255], [0, 0, 1, 255]]


def test_the_image_has_the_format_that_the_config_names(records):
    pixels = np.asarray(Image.open(records[0]["file_name"]))
    assert np.array_equal(
        _mapper()(records[0])["image"].numpy(), pixels[..., ::-1].transpose(2, 0, 1)
    )


def test_a_crowd_is_no_instance_but_labelled_as_thing(records):
    out = _mapper()(records[1])
    assert out["instances"].gt_classes.tolist() == [1]
    assert out["sem_seg"].tolist() == [[0, 0], [0, 0]]


def test_one_void_pixel_gives_empty_targets(records):
    out = _mapper()(records[2])
    assert len(out["instances"]) == 0
    assert out["instances"].gt_masks.tensor.shape == (0, 1, 1)
    assert out["sem_seg"].tolist() == [[255]]


def test_image_and_targets_move_together(records):
    out = _mapper(T.RandomFlip(prob=1.0), T.CropTransform(0, 0, 2, 2))(records[0])
    assert out["sem_seg"].tolist() == [[255, 1], [255, 1]]
    assert len(out["instances"]) == 0


def test_padding_is_void(records):
    out = _mapper(T.PadTransform(1, 0, 0, 0, seg_pad_value=255))(records[0])
    assert out["sem_seg"].tolist() == [[255, 0, 0, 1, 255]] * 2


def test_a_test_input_keeps_what_evaluators_need(records):
    out = _mapper(is_train=False)(records[0])
    assert "instances" not in out
    assert {"image", "image_id", "height", "width", "file_name"} <= set(out)


def test_the_record_stays_as_it_is(records):
    before = {key: repr(value) for key, value in records[0].items()}
    _mapper()(records[0])
    assert {key: repr(value) for key, value in records[0].items()} == before


def test_a_png_of_another_size_names_both_sizes(records):
    Image.new("RGB", (3, 2)).save(records[0]["pan_seg_file_name"])
    with pytest.raises(UserError, match=r"size \(2, 3\), its image .* \(2, 4\)"):
        _mapper()(records[0])


def test_a_missing_png_is_named(records):
    Path(records[0]["pan_seg_file_name"]).unlink()
    with pytest.raises(UserError, match=r"masks/0\.png does not exist"):
        _mapper()(records[0])


def test_real_annotations_round_trip(shared_data):
    """Every listed pixel of 12 COCO images arrives: as instance, label, or both."""
    root = shared_data / "coco_panoptic"
    records = load_panoptic_records(
        root / "annotations/panoptic_val2017.json",
        image_root=root / "val2017",
        panoptic_root=root / "annotations/panoptic_val2017",
    )
    mapper = _mapper()
    categories = {s["category_id"] for r in records for s in r["segments_info"]}
    mapper.thing_ids = {c: c for c in categories if c <= 90}
    mapper.stuff_ids = {c: c for c in categories if c > 90}
    for record in records:
        out = mapper(record)
        things = [s for s in record["segments_info"] if s["category_id"] <= 90]
        areas = [s["area"] for s in things if not s["iscrowd"]]
        assert out["instances"].gt_masks.tensor.flatten(1).sum(1).tolist() == areas
        stuff = {s["category_id"]: s["area"] for s in record["segments_info"] if s not in things}
        for label, area in stuff.items():
            assert int((out["sem_seg"] == label).sum()) == area
        assert int((out["sem_seg"] == 0).sum()) == sum(s["area"] for s in things)
