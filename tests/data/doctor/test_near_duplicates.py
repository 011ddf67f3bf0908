"""Copies of a picture are found though their bytes differ; pictures that are merely alike not."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from seg_projects.data.doctor import Finding, inspect_data
from seg_projects.data.doctor.near_duplicates import (
    MAX_DISTANCE,
    check_near_duplicates,
    check_near_splits,
    fingerprint,
    nearest,
)

COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half the size": lambda i: i.resize((i.width // 2, i.height // 2)),
    "a quarter": lambda i: i.resize((i.width // 4, i.height // 4), Image.Resampling.LANCZOS),
    "JPEG of low quality": lambda i: _compressed(i, 30),
    "brighter": lambda i: ImageEnhance.Brightness(i).enhance(1.15),
    "darker": lambda i: ImageEnhance.Brightness(i).enhance(0.85),
    "more contrast": lambda i: ImageEnhance.Contrast(i).enhance(1.2),
    "grey": lambda i: i.convert("L"),
    "all of it": lambda i: _compressed(
        ImageEnhance.Brightness(i.resize((i.width // 2, i.height // 2))).enhance(1.1), 40
    ),
}


def _compressed(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def _photographs(folder: Path) -> list[Path]:
    """A few of each kind: photographs, street scenes, slices, nuclei."""
    patterns = (
        *("coco_panoptic/val2017/*.jpg", "fruits_nuts/**/*.jpg", "membrane/train/image/*.png"),
        *("camvid/CamVid/val/*.png", "dsb2018_nuclei/stage1_train/*/images/*.png"),
    )
    return [path for pattern in patterns for path in sorted(folder.glob(pattern))[:8]]


def _print(image: Image.Image) -> bytes:
    image.load()
    value = fingerprint(image)
    assert value is not None
    return value


def _distance(first: bytes, second: bytes) -> int:
    return (int.from_bytes(first) ^ int.from_bytes(second)).bit_count()


def test_copies_of_real_photographs_are_within_the_limit(shared_data: Path) -> None:
    for path in _photographs(shared_data)[::3]:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        original = _print(image)
        for how, change in COPIES.items():
            assert _distance(original, _print(change(image))) <= MAX_DISTANCE, (path, how)


def test_different_photographs_slices_and_frames_are_beyond_it(shared_data: Path) -> None:
    prints = {str(path): _print(Image.open(path)) for path in _photographs(shared_data)}
    assert list(check_near_duplicates(prints, shared_data)) == []


def test_standing_camera_and_copies_in_a_real_set_are_named(shared_data: Path) -> None:
    # The publisher's damaged cars hold one picture as a JPEG in two sizes.
    folder = shared_data / "car_damage_via" / "train"
    prints = {path.name: _print(Image.open(path)) for path in sorted(folder.glob("*.jp*g"))}
    (found,) = check_near_duplicates(prints, folder)
    assert (found.where, found.beside) == ("image50.jpg", folder / "image46.jpeg")


@pytest.mark.parametrize("flip", [False, True])
def test_mirror_images_are_found_where_asked_for(shared_data: Path, flip: bool) -> None:
    files = sorted((shared_data / "coco_panoptic" / "val2017").iterdir())
    prints = {path.name: _print(Image.open(path)) for path in files}
    for path in files:
        prints[f"mirrored {path.name}"] = _print(ImageOps.mirror(Image.open(path)))
    found = list(check_near_duplicates(prints, Path(), mirror=flip))
    assert [f.where for f in found] == [f"mirrored {p.name}" for p in files if flip]
    assert all("the mirror image of" in f.text for f in found)


def test_orientation_is_that_of_the_picture_as_shown(shared_data: Path) -> None:
    path = next((shared_data / "fruits_nuts").rglob("*.jpg"))
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    file = io.BytesIO()
    image.transpose(Image.Transpose.ROTATE_90).save(file, "JPEG", quality=95, exif=exif)
    assert _distance(_print(image), _print(Image.open(file))) <= MAX_DISTANCE


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((40, 50), np.uint8),
        np.full((1, 1, 3), 200, np.uint8),
        np.full((64, 64), 40000, np.uint16),
    ],
)
def test_pictures_of_one_colour_have_no_fingerprint(pixels: np.ndarray) -> None:
    assert fingerprint(Image.fromarray(pixels)) is None


def test_kinds_of_files_agree(shared_data: Path) -> None:
    with Image.open(next((shared_data / "fruits_nuts").rglob("*.jpg"))) as opened:
        grey = opened.convert("L")
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    kinds = [wide, *(grey.convert(mode) for mode in ("RGB", "RGBA", "CMYK", "P", "LA"))]
    for image in kinds:
        assert _distance(_print(grey), _print(image)) <= 4, image.mode


def _random_prints(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32), dtype=np.uint8)


@pytest.mark.parametrize("earlier", [False, True])
def test_search_equals_comparing_all(earlier: bool) -> None:
    known = _random_prints(400, 0)
    queries = known.copy()
    rng = np.random.default_rng(1)
    for row, changed in enumerate(rng.integers(0, 60, len(queries))):
        for bit in rng.choice(256, changed, replace=False).tolist():
            queries[row, bit // 8] ^= 1 << bit % 8
    queries = queries[rng.permutation(len(queries))]
    differences = np.unpackbits(queries[:, None] ^ known, axis=2).sum(axis=2, dtype=np.int64)
    if earlier:
        differences[np.triu_indices(len(queries))] = 999
    rows = np.flatnonzero(differences.min(axis=1) <= MAX_DISTANCE)
    found = nearest(queries, known, earlier=earlier)
    assert found.rows.tolist() == rows.tolist()
    assert found.partners.tolist() == differences[rows].argmin(axis=1).tolist()
    assert found.distances.tolist() == differences[rows].min(axis=1).tolist()


def test_many_equal_pictures_cost_no_more_than_different_ones() -> None:
    # Compared one by one, that would be 200 million pairs.
    prints = np.repeat(_random_prints(1, 0), 20_000, axis=0)
    found = nearest(prints, prints, earlier=True)
    assert found.rows.tolist() == list(range(1, 20_000))
    assert not found.distances.any()


def _content(names: Iterable[str], sizes: Iterable[tuple[int, int]]) -> dict[str, Any]:
    images = [
        {"id": number, "file_name": name, "height": height, "width": width}
        for number, (name, (width, height)) in enumerate(zip(names, sizes, strict=True), start=1)
    ]
    return {"images": images, "annotations": [], "categories": [{"id": 1, "name": "fig"}]}


def test_doctor_names_copies_within_and_across_splits(shared_data: Path, tmp_path: Path) -> None:
    source = sorted((shared_data / "fruits_nuts").rglob("*.jpg"))[:2]
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
    first, second = (Image.open(path).convert("RGB") for path in source)
    first.save(tmp_path / "train" / "a.png")
    first.resize((400, 300)).save(tmp_path / "train" / "a_small.jpg")
    second.save(tmp_path / "train" / "b.png")
    ImageEnhance.Brightness(second).enhance(1.1).save(tmp_path / "val" / "c.jpg", quality=60)
    second.save(tmp_path / "val" / "b.png")
    train = _content(["a.png", "a_small.jpg", "b.png"], [first.size, (400, 300), second.size])
    val = _content(["c.jpg", "b.png"], [second.size] * 2)
    inspected = inspect_data(
        val, tmp_path / "val", tmp_path, other=(train, tmp_path / "train"), workers=1
    )
    places = [(f.kind, f.where, f.beside) for f in inspected]
    # Of the two equal files, the bytes say it already.
    assert places == [
        ("near-duplicate image", "b.png", tmp_path / "val" / "c.jpg"),
        ("image in two splits", "b.png", tmp_path / "train" / "b.png"),
        ("near-duplicate in two splits", "c.jpg", tmp_path / "train" / "b.png"),
    ]
    (found,) = inspect_data(train, tmp_path / "train", tmp_path, workers=1)
    assert found.where == "a_small.jpg"
    assert found.severity == "warning"
    assert found.text.startswith("like a.png (")


def test_two_splits_without_common_pictures_are_silent(shared_data: Path) -> None:
    paths = _photographs(shared_data)
    halves = [{str(p): _print(Image.open(p)) for p in paths[k::2]} for k in range(2)]
    found: list[Finding] = list(check_near_splits(*halves, shared_data, mirror=True))
    assert found == []
    assert list(check_near_splits({}, halves[0], shared_data)) == []
