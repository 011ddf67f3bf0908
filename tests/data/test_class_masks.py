"""Binary masks of classes: what their values say, and how all planes move as one map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seg_projects.data import ClassMaskMapper
from seg_projects.data.class_masks import (
    Combinations,
    check_class_names,
    mask_table,
    read_class_masks,
)
from seg_projects.data.sampling import classes_of_images
from seg_projects.errors import UserError


def _record(folder: Path, *masks: np.ndarray | None) -> dict[str, Any]:
    files = []
    for number, mask in enumerate(masks):
        path = folder / f"{number}.tif"
        if mask is not None:
            Image.fromarray(mask).save(path)
        files.append(None if mask is None else str(path))
    return {"class_mask_file_names": files, "height": 1, "width": 3}


def _row(*values: int, dtype: Any = np.uint8) -> np.ndarray:
    return np.array([values], dtype=dtype)


@pytest.mark.parametrize(
    "mask",
    [_row(0, 1, 1), _row(0, 255, 255), _row(0, 65535, 1, dtype=np.uint16), _row(0, 1, 1) > 0],
)
def test_one_is_written_in_several_ways(tmp_path: Path, mask: np.ndarray) -> None:
    planes = read_class_masks(_record(tmp_path, mask), mask_table(None))
    assert planes.tolist() == [[[0, 1, 1]]]


def test_ignored_pixels_are_of_their_class_alone_and_no_file_is_nowhere(tmp_path: Path) -> None:
    record = _record(tmp_path, _row(0, 7, 255), None, _row(1, 1, 0))
    planes = read_class_masks(record, mask_table(7))
    assert planes[:, 0].tolist() == [[0, 255, 1], [0, 0, 0], [1, 1, 0]]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (_row(0, 3, 255), "holds 3, which is neither 0 nor one of 1, 255, 65535.*IGNORE_LABEL"),
        (np.zeros((1, 3, 3), np.uint8), "has 3 channels; one is wanted"),
        (_row(0, 1), "has 2 x 1 pixels, its image 3 x 1"),
        (_row(0, 300_000, 1, dtype=np.int32), "neither 0 nor one of"),
    ],
)
def test_a_wrong_mask_is_named(tmp_path: Path, mask: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_class_masks(_record(tmp_path, mask), mask_table(None))


def test_a_missing_mask_is_named(tmp_path: Path) -> None:
    record = _record(tmp_path, _row(0, 0, 0))
    Path(record["class_mask_file_names"][0]).unlink()
    with pytest.raises(UserError, match=r"The mask .*0\.tif cannot be read"):
        read_class_masks(record, mask_table(None))


@pytest.mark.parametrize("value", [0, -1, 70_000])
def test_what_no_mask_can_ignore(value: int) -> None:
    with pytest.raises(UserError, match=f"IGNORE_LABEL is {value}"):
        mask_table(value)


@pytest.mark.parametrize("names", [[], ["a", "a"], ["a/b"], [".."], ["a\\b"], [" "]])
def test_classes_become_folders(names: list[str]) -> None:
    with pytest.raises(UserError, match="distinct names that folders and files can have"):
        check_class_names(names)


# With ten planes of pure chance there are more combinations than a byte holds.
@pytest.mark.parametrize("num_classes", [1, 3, 10, 40])
def test_planes_come_back_from_their_combinations(num_classes: int) -> None:
    rng = np.random.default_rng(0)
    planes = rng.choice(np.array((0, 1, 255), np.uint8), (num_classes, 30, 40))
    planes[0] = 0
    found = Combinations.of(planes)
    assert (found.packed().ndim == 2) == (len(found.values) <= 255)
    assert np.array_equal(found.planes(found.packed()), planes)
    assert len(np.unique(found.codes)) == len(found.values)


@pytest.mark.parametrize("num_classes", [2, 12])
def test_what_comes_in_from_outside_is_ignored_in_every_plane(num_classes: int) -> None:
    planes = np.random.default_rng(0).integers(0, 2, (num_classes, 30, 40)).astype(np.uint8)
    found = Combinations.of(planes)
    moved = found.packed().copy()
    moved[0] = 255
    back = found.planes(moved)
    assert (back[:, 0] == 255).all()
    assert np.array_equal(back[:, 1:], planes[:, 1:])


def test_255_combinations_leave_room_for_the_outside() -> None:
    planes = np.stack([(np.arange(255) >> bit) & 1 for bit in range(8)]).astype(np.uint8)[:, None]
    found = Combinations.of(planes)
    assert found.packed().dtype == np.uint8
    assert np.array_equal(found.planes(found.packed()), planes)
    assert (found.planes(np.full((1, 1), 255, np.uint8)) == 255).all()


def test_classes_of_images_are_those_with_a_pixel(tmp_path: Path) -> None:
    record = _record(tmp_path, _row(0, 0, 0), _row(0, 7, 1), None, _row(0, 0, 7))
    assert classes_of_images([record], mask_table(7)) == [{1}]


def _mapper(is_train: bool, ignore_value: int = 255) -> ClassMaskMapper:
    return ClassMaskMapper(
        is_train,
        augmentations=[],
        image_format="BGR",
        label_table=mask_table(7),
        ignore_value=ignore_value,
    )


def test_target_has_the_ignored_value_of_the_model(tmp_path: Path) -> None:
    record = _record(tmp_path, _row(0, 7, 1), _row(1, 1, 0))
    Image.fromarray(np.zeros((1, 3, 3), np.uint8)).save(tmp_path / "image.png")
    record["file_name"] = str(tmp_path / "image.png")
    assert _mapper(True, -1)(record)["sem_seg"][:, 0].tolist() == [[0, -1, 1], [1, 1, 0]]
    assert "sem_seg" not in _mapper(False)(record)


@pytest.mark.parametrize("value", [0, 1])
def test_an_ignored_value_that_says_something_is_refused(value: int) -> None:
    with pytest.raises(UserError, match=f"IGNORE_VALUE is {value}.*take 255"):
        _mapper(True, value)
