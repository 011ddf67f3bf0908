"""Images in, overlays, label PNGs and a COCO panoptic JSON out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seg_projects.data.categories import OutputCategories
from seg_projects.data.panoptic_ids import read_panoptic_ids
from seg_projects.engine.input_images import find_images, in_eight_bits, read_image_rgb
from seg_projects.engine.prediction_files import PanopticFiles, write_predictions
from seg_projects.engine.predictor import PanopticPrediction
from seg_projects.errors import UserError

RED, BLUE = (255, 0, 0), (0, 0, 255)


def _categories(thing_id: int = 3) -> OutputCategories:
    return OutputCategories(
        records=[
            {"id": thing_id, "name": "cat", "isthing": 1, "color": [220, 20, 60]},
            {"id": 500, "name": "sky", "isthing": 0, "color": [70, 130, 180]},
        ],
        thing_ids={thing_id: 0},
        stuff_ids={0: 0, 500: 1},
    )


def _write(images: Any, predict: Any, output: Path) -> list[Path]:
    """Those that could not be read."""
    files = PanopticFiles(output, _categories())
    unreadable = write_predictions(find_images(images), predict, files)
    files.finish()
    return unreadable


def _left_cat(image: np.ndarray) -> PanopticPrediction:
    """A cat with the id 70000 on the left half, nothing on the right."""
    ids = np.zeros(image.shape[:2], np.int32)
    ids[:, : image.shape[1] // 2] = 70000
    area = int((ids > 0).sum())
    cat = {"id": 70000, "category_id": 3, "isthing": True, "area": area, "score": 0.5}
    return PanopticPrediction(ids, [cat])


def _two_colours(path: Path, mode: str = "RGB") -> Path:
    """Red on the left, blue on the right, (H, W) = (4, 8)."""
    image = Image.new("RGB", (8, 4), BLUE)
    image.paste(RED, (0, 0, 4, 4))
    image.convert(mode).save(path)
    return path


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGB", "png"), ("RGBA", "png"), ("P", "gif"), ("CMYK", "tif")]
)
def test_colours_survive_every_mode(tmp_path: Path, mode: str, suffix: str) -> None:
    image = read_image_rgb(_two_colours(tmp_path / f"image.{suffix}", mode))
    assert (image.shape, image.dtype) == ((4, 8, 3), np.uint8)
    assert image[0, 0].tolist() == list(RED)
    assert image[0, 7].tolist() == list(BLUE)


@pytest.mark.parametrize(("mode", "white"), [("L", 255), ("1", 1), ("LA", (255, 255))])
def test_grey_images_become_rgb(tmp_path: Path, mode: str, white: int) -> None:
    Image.new(mode, (3, 2), white).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image_rgb(tmp_path / "grey.png"), np.full((2, 3, 3), 255))


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    levels = np.array([[0, 256, 65535]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    assert in_eight_bits(read_image_rgb(tmp_path / "deep.png"))[:, :, 0].tolist() == [[0, 1, 255]]


def test_image_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees, clockwise
    image = Image.open(_two_colours(tmp_path / "image.png"))
    image.save(tmp_path / "turned.png", exif=exif)
    turned = read_image_rgb(tmp_path / "turned.png")
    assert turned.shape == (8, 4, 3)
    # What was left is on top.
    assert turned[0, 0].tolist() == list(RED)
    assert turned[7, 0].tolist() == list(BLUE)


def test_truncated_image_is_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    path = tmp_path / "image.png"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"image\.png cannot be read: .*truncated"):
        read_image_rgb(path)


def test_image_too_large_to_be_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15)  # half of 4 x 8, less one
    with pytest.raises(UserError, match="cannot be read: Image size"):
        read_image_rgb(_two_colours(tmp_path / "image.png"))


def test_files_of_an_image_agree(tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert _write([_two_colours(tmp_path / "a.png")], _left_cat, output) == []
    content = json.loads((output / "panoptic.json").read_text())
    assert content["images"] == [{"id": 1, "file_name": "a.png", "height": 4, "width": 8}]
    assert content["categories"] == _categories().records
    (annotation,) = content["annotations"]
    assert (annotation["image_id"], annotation["file_name"]) == (1, "a.png")
    (segment,) = annotation["segments_info"]
    ids = read_panoptic_ids(output / "panoptic" / "a.png")
    assert set(np.unique(ids)) == {0, segment["id"]} == {0, 70000}
    assert (ids == 70000).sum() == segment["area"] == 16
    labels = np.asarray(Image.open(output / "labels" / "a.png"))
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, np.where(ids == 70000, 3, 0))
    assert Image.open(output / "overlays" / "a.png").size == (8, 4)


def test_category_ids_beyond_a_byte_have_16_bits(tmp_path: Path) -> None:
    def sky(image: np.ndarray) -> PanopticPrediction:
        ids = np.ones(image.shape[:2], np.int32)
        return PanopticPrediction(
            ids, [{"id": 1, "category_id": 500, "isthing": False, "area": ids.size}]
        )

    _write([_two_colours(tmp_path / "a.png")], sky, tmp_path)
    labels = np.asarray(Image.open(tmp_path / "labels" / "a.png"))
    np.testing.assert_array_equal(labels, np.full((4, 8), 500))


def test_image_in_which_nothing_is_found_is_all_void(tmp_path: Path) -> None:
    def nothing(image: np.ndarray) -> PanopticPrediction:
        return PanopticPrediction(np.zeros(image.shape[:2], np.int32), [])

    _write([_two_colours(tmp_path / "a.png")], nothing, tmp_path)
    (annotation,) = json.loads((tmp_path / "panoptic.json").read_text())["annotations"]
    assert annotation["segments_info"] == []
    assert not np.asarray(Image.open(tmp_path / "labels" / "a.png")).any()


def test_folders_of_the_input_are_kept(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for day in ("day1", "day2/früh"):
        (photos / day).mkdir(parents=True)
        _two_colours(photos / day / "a.png")
    output = tmp_path / "out"
    assert _write([photos], _left_cat, output) == []
    content = json.loads((output / "panoptic.json").read_text())
    names = ["day1/a.png", "day2/früh/a.png"]
    assert [image["file_name"] for image in content["images"]] == names
    assert [annotation["file_name"] for annotation in content["annotations"]] == names
    for folder in ("labels", "overlays", "panoptic"):
        written = {path.relative_to(output / folder) for path in (output / folder).rglob("*.png")}
        assert written == set(map(Path, names))


def test_unreadable_image_is_skipped_with_a_warning(
    tmp_path: Path, our_warnings: list[str]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_text("no image")
    images = [broken, _two_colours(tmp_path / "a.png")]
    assert _write(images, _left_cat, tmp_path / "out") == [broken]
    (warning,) = our_warnings
    assert warning.startswith(f"Skipped: The image {broken} cannot be read")
    (image,) = json.loads((tmp_path / "out" / "panoptic.json").read_text())["images"]
    assert image["file_name"] == "a.png"


def test_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    image = _two_colours(tmp_path / "a.png")
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match=r"prediction of .*a\.png cannot be written .*make room"):
        _write([image], _left_cat, tmp_path / "taken")
