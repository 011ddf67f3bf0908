"""Scenes: image, ids and segments stay together; pasted objects hide what lies below them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectron2.data import transforms as T
from seg_projects.data import PanopticMapper
from seg_projects.data.augmentation import CopyPaste
from seg_projects.data.augmentation.colour import RandomBlur
from seg_projects.data.augmentation.geometry import RandomRotations, Window
from seg_projects.data.datasets.panoptic import load_panoptic_records
from seg_projects.data.panoptic_scenes import PanopticScene, PanopticScenes, paste_segments
from seg_projects.errors import UserError

ALL = CopyPaste(probability=1.0, share=1.0)


@pytest.fixture
def records(tmp_path: Path, write_panoptic: Any) -> list[dict[str, Any]]:
    """Things 3 (cat) and 8 (dog), stuff 5: one row per scene; the third has a crowd."""
    scenes = [
        (np.array([[1, 1, 300, 300]]), [(1, 8, 0), (300, 5, 0)]),
        (np.array([[9, 0, 0, 7], [9, 0, 0, 7]]), [(9, 3, 0), (7, 8, 0)]),
        (np.array([[4, 4, 6, 6]]), [(4, 3, 1), (6, 5, 0)]),
    ]
    path = write_panoptic(tmp_path / "set", scenes)
    return load_panoptic_records(
        path, image_root=tmp_path / "set/images", panoptic_root=tmp_path / "set/masks"
    )


def _scenes(*steps: Any, partners: Any = ()) -> PanopticScenes:
    return PanopticScenes(steps, image_format="BGR", thing_ids={3, 8}, partners=partners)


def _of(scene: PanopticScene) -> dict[int, tuple[int, int]]:
    """{id: (category, area)}."""
    return {s["id"]: (s["category_id"], int((scene.ids == s["id"]).sum())) for s in scene.segments}


def test_segments_that_left_the_picture_are_dropped(records):
    scene = _scenes(T.CropTransform(0, 0, 2, 1))(records[0])
    assert _of(scene) == {1: (8, 2)}
    assert scene.image.shape == (1, 2, 3)


def test_padding_and_corners_of_rotations_are_void(records):
    scene = _scenes(Window(-1, 0, 6, 1, (0.0,)))(records[0])
    assert scene.ids.tolist() == [[0, 1, 1, 300, 300, 0]]
    scene = _scenes(RandomRotations(angle=(45, 45), expand=True))(records[1])
    assert set(np.unique(scene.ids)) <= {0, 7, 9}


def test_pasted_objects_lie_on_top_under_new_ids_and_hide_what_is_below(records):
    scene = _scenes(ALL, partners=[records[1]])(records[0])
    # The cat covers half of the dog, the other dog half of the stuff.
    assert scene.ids.tolist() == [[301, 1, 300, 302]]
    assert _of(scene) == {1: (8, 1), 300: (5, 1), 301: (3, 1), 302: (8, 1)}
    other = _scenes()(records[1]).image
    assert np.array_equal(scene.image[0, [0, 3]], other[0, [0, 3]])
    assert np.array_equal(scene.image[0, [1, 2]], _scenes()(records[0]).image[0, [1, 2]])


def test_what_is_hidden_wholly_is_no_segment():
    below = PanopticScene(np.zeros((1, 2, 3), np.uint8), np.array([[1, 2]], np.int32), [
        {"id": 1, "category_id": 3}, {"id": 2, "category_id": 8}])  # fmt: skip
    above = PanopticScene(np.ones((1, 1, 3), np.uint8), np.array([[1]], np.int32), [
        {"id": 1, "category_id": 8}])  # fmt: skip
    scene = paste_segments(below, above, [1])
    assert _of(scene) == {2: (8, 1), 3: (8, 1)}
    assert below.ids.tolist() == [[1, 2]]
    assert below.image.max() == 0


def test_crowds_and_stuff_are_not_pasted(records):
    scene = _scenes(ALL, partners=[records[2]])(records[0])
    assert _of(scene) == {1: (8, 2), 300: (5, 2)}


def test_nothing_is_pasted_with_probability_or_share_0(records):
    for paste in (CopyPaste(probability=0.0), CopyPaste(probability=1.0, share=0.0)):
        scene = _scenes(paste, partners=[records[1]])(records[0])
        assert _of(scene) == {1: (8, 2), 300: (5, 2)}


def test_steps_before_move_each_scene_and_steps_after_the_result(records):
    steps = (T.RandomFlip(prob=1.0), ALL, T.CropTransform(0, 0, 2, 1))
    scene = _scenes(*steps, partners=[records[1]])(records[0])
    # Flipped: stuff stuff dog dog, and dog void void cat; then the first two columns.
    assert _of(scene) == {300: (5, 1), 302: (8, 1)}


def test_one_seed_gives_one_scene(records):
    scenes = _scenes(
        RandomRotations(angle=90), CopyPaste(), RandomBlur(sigma=(0, 2)), partners=records
    )
    results = []
    for _ in range(2):
        np.random.seed(5)  # noqa: NPY002  # Detectron2's augmentations use this generator
        results.append([scenes(record) for record in records * 3])
    for first, second in zip(*results, strict=True):
        assert np.array_equal(first.image, second.image)
        assert np.array_equal(first.ids, second.ids)


def test_a_crop_by_category_sees_the_categories(records):
    crop = T.RandomCrop_CategoryAreaConstraint("absolute", (1, 2), 0.6, 255)
    scenes = _scenes(crop)
    assert scenes.pipeline.needs_labels
    for seed in range(5):
        np.random.seed(seed)  # noqa: NPY002
        # Of the three places, the middle one alone shows two categories; ten trials find it.
        assert scenes(records[0]).ids.tolist() == [[1, 300]]


def test_pasting_without_partners_is_refused():
    with pytest.raises(UserError, match="no records to paste from"):
        _scenes(ALL)


def test_targets_of_a_mapper_follow_the_pasted_scene(records):
    mapper = PanopticMapper(
        is_train=True,
        augmentations=[ALL],
        image_format="BGR",
        thing_ids={3: 0, 8: 1},
        stuff_ids={0: 0, 5: 1},
        ignore_label=255,
        partners=[records[1]],
    )
    out = mapper(records[0])
    assert out["instances"].gt_classes.tolist() == [1, 0, 1]
    assert out["instances"].gt_boxes.tensor.tolist() == [[1, 0, 2, 1], [0, 0, 1, 1], [3, 0, 4, 1]]
    assert out["instances"].gt_masks.tensor.flatten(1).tolist() == [
        [False, True, False, False],
        [True, False, False, False],
        [False, False, False, True],
    ]
    assert out["sem_seg"].tolist() == [[0, 0, 1, 0]]
