"""Splits: complete, disjoint, stratified, grouped, reproducible."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import tool_main

from seg_projects.data.split import split_coco
from seg_projects.errors import UserError


def _content(images: int = 100, videos: int = 20) -> dict[str, Any]:
    """Each image has an object of class 1; one in ten, of one of class 2."""
    records = [{"id": i, "file_name": f"v{i % videos}_{i}.jpg"} for i in range(images)]
    rare = [{"image_id": i, "category_id": 2} for i in range(0, images, 10)]
    common = [{"image_id": i, "category_id": 1} for i in range(images)]
    return {"images": records, "annotations": common + rare, "categories": [{"id": 1}, {"id": 2}]}


def _ids(part: dict[str, Any]) -> set[int]:
    return {image["id"] for image in part["images"]}


def test_parts_are_disjoint_complete_and_stratified() -> None:
    parts = split_coco(_content(), [8, 1, 1], group_pattern=None, seed=0)
    assert [len(_ids(part)) for part in parts] == [80, 10, 10]
    assert set.union(*map(_ids, parts)) == set(range(100))
    rare = [sum(a["category_id"] == 2 for a in part["annotations"]) for part in parts]
    assert rare == [8, 1, 1]


@pytest.mark.parametrize("shares", [[0.8, 0.2], [0.7, 0.2, 0.1], [1, 1, 1, 1]])
@pytest.mark.parametrize("images", [10, 31, 100])
def test_parts_have_the_sizes_asked_for_whatever_the_images_hold(
    images: int, shares: list[float]
) -> None:
    draw = random.Random(images)
    content = _content(images)
    content["annotations"] = [
        {"image_id": i, "category_id": draw.choice([1, 1, 2, 3])}
        for i in range(images)
        for _ in range(draw.choice([0, 1, 2, 40]))
    ]
    for seed in range(5):
        parts = split_coco(content, shares, group_pattern=None, seed=seed)
        for part, share in zip(parts, shares, strict=True):
            assert abs(len(part["images"]) - images * share / sum(shares)) < 1 + 1e-9


def test_groups_of_different_sizes_fill_the_parts_within_one_group() -> None:
    content = _content(60, videos=1)
    for i, image in enumerate(content["images"]):
        image["file_name"] = f"v{int(i**0.5)}_{i}.jpg"  # videos of 1, 3, 5, ... 11 images
    parts = split_coco(content, [0.5, 0.5], group_pattern=r"^(v\d+)_", seed=0)
    assert abs(len(parts[0]["images"]) - 30) <= 11


def test_groups_stay_together() -> None:
    parts = split_coco(_content(), [0.5, 0.5], group_pattern=r"^(v\d+)_", seed=0)
    videos = [{i["file_name"].split("_")[0] for i in part["images"]} for part in parts]
    assert not videos[0] & videos[1]
    assert [len(part["images"]) for part in parts] == [50, 50]


def test_equal_seeds_give_equal_splits_whatever_the_order() -> None:
    content = _content()
    shuffled = content | {"images": random.Random(1).sample(content["images"], 100)}
    first, second = (split_coco(c, [7, 3], group_pattern=None, seed=3) for c in (content, shuffled))
    assert [_ids(part) for part in first] == [_ids(part) for part in second]
    other = split_coco(content, [7, 3], group_pattern=None, seed=4)
    assert _ids(other[0]) != _ids(first[0])


def test_panoptic_annotations_follow_their_images() -> None:
    content = _content(10)
    content["annotations"] = [
        {"image_id": i, "segments_info": [{"category_id": 1}, {"category_id": 2}]}
        for i in range(10)
    ]
    for part in split_coco(content, [1, 1], group_pattern=None, seed=0):
        assert {a["image_id"] for a in part["annotations"]} == _ids(part)
        assert len(part["annotations"]) == 5


@pytest.mark.parametrize("pattern", ["^x(.)", "v", "("])
def test_pattern_that_names_no_group_is_a_mistake(pattern: str) -> None:
    with pytest.raises(UserError, match="--group-by"):
        split_coco(_content(), [1, 1], group_pattern=pattern, seed=0)


def test_fewer_groups_than_parts_is_a_mistake() -> None:
    with pytest.raises(UserError, match="1 groups of 1 images do not fill 2 parts"):
        split_coco(_content(1), [1, 1], group_pattern=None, seed=0)


def test_each_image_is_validated_in_one_fold(tmp_path: Path) -> None:
    (tmp_path / "all.json").write_text(json.dumps(_content()))
    assert tool_main("split")([str(tmp_path / "all.json"), "--folds", "4"]) == 0
    seen: Counter[int] = Counter()
    for fold in range(4):
        parts = [
            json.loads((tmp_path / f"fold{fold}_{p}.json").read_text()) for p in ("train", "val")
        ]
        assert not _ids(parts[0]) & _ids(parts[1])
        assert len(_ids(parts[0]) | _ids(parts[1])) == 100
        seen.update(_ids(parts[1]))
    assert set(seen.values()) == {1}


def test_source_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "train.json"
    path.write_text(json.dumps(_content()))
    assert tool_main("split")([str(path), "--parts", "train=0.8", "val=0.2"]) == 2
    assert "would overwrite" in capsys.readouterr().err
