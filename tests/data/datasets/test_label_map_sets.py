"""Preparation of published sets of label maps, from their publishers' layouts."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from converted_sets import save_image
from PIL import Image
from tiny_runs import REPOSITORY

from seg_projects.data.conversion.coco_panoptic import write_png
from seg_projects.data.datasets.label_map_sets import prepare_ade, prepare_camvid, prepare_pets
from seg_projects.errors import UserError


def _label(path: Path) -> list[list[int]]:
    return np.asarray(Image.open(path)).tolist()


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A cat to train with, a dog to test with."""
    source = tmp_path / "source"
    for name in ("Cat_1", "dog_1"):
        save_image(source / "images" / f"{name}.jpg", 3, 1)
        trimap = np.array([[1, 2, 3]], np.uint8)
        write_png(source / "annotations" / "trimaps" / f"{name}.png", trimap)
    (source / "annotations" / "trainval.txt").write_text("#Image CLASS\nCat_1 1 1 1\n")
    (source / "annotations" / "test.txt").write_text("dog_1 5 2 1\n")
    return source


def test_trimaps_become_cats_and_dogs(pets: Path, tmp_path: Path) -> None:
    output = prepare_pets(pets, tmp_path / "pets")
    assert _label(output / "labels" / "train" / "Cat_1.png") == [[1, 0, 255]]
    assert _label(output / "labels" / "val" / "dog_1.png") == [[2, 0, 255]]
    assert (output / "classes.txt").read_text().split() == ["background", "cat", "dog"]


def test_second_preparation_writes_no_file_again(pets: Path, tmp_path: Path) -> None:
    output = prepare_pets(pets, tmp_path / "pets")
    files = [p for p in output.rglob("*.*") if p.name != "classes.txt"]
    before = {path: path.stat().st_mtime_ns for path in files}
    prepare_pets(pets, output)
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_missing_files_are_counted(pets: Path, tmp_path: Path) -> None:
    (pets / "images" / "Cat_1.jpg").unlink()
    with pytest.raises(UserError, match=r"1 files are missing, the first is .*Cat_1\.jpg"):
        prepare_pets(pets, tmp_path / "pets")


def test_unknown_value_is_a_mistake(pets: Path, tmp_path: Path) -> None:
    write_png(pets / "annotations" / "trimaps" / "Cat_1.png", np.array([[9]], np.uint8))
    with pytest.raises(UserError, match="the value 9"):
        prepare_pets(pets, tmp_path / "pets")


def test_camvid_drops_the_foreign_prefix(shared_data: Path, tmp_path: Path) -> None:
    output = prepare_camvid(shared_data / "camvid" / "CamVid", tmp_path / "camvid")
    labels = {s: sorted((output / "labels" / s).iterdir()) for s in ("train", "val", "test")}
    assert [len(files) for files in labels.values()] == [36, 12, 12]
    before = np.asarray(
        Image.open(shared_data / "camvid" / "CamVid" / "valannot" / labels["val"][0].name)
    )
    after = np.asarray(Image.open(labels["val"][0]))
    assert np.array_equal(after, np.where(before == 11, 255, before))


def test_ade_classes_begin_at_zero(shared_data: Path, tmp_path: Path) -> None:
    sample = shared_data / "ade_sceneparsing"
    source = tmp_path / "source"
    for kind in ("images", "annotations"):
        (source / kind / "training").mkdir(parents=True)
        (source / kind / "validation").symlink_to(sample / "sampleData" / kind)
    (source / "objectInfo150.txt").symlink_to(sample / "objectInfo150.txt")
    output = prepare_ade(source, tmp_path / "ade")
    assert (output / "classes.txt").read_text().splitlines()[:2] == ["wall", "building"]
    name = "ADE_val_00000001.png"
    before = np.asarray(Image.open(sample / "sampleData" / "annotations" / name)).astype(int)
    after = np.asarray(Image.open(output / "labels" / "val" / name))
    assert np.array_equal(after, np.where(before == 0, 255, before - 1))


@pytest.mark.parametrize("name", ["pets", "camvid", "ade"])
def test_script_names_what_its_source_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    script = REPOSITORY / "datasets" / f"prepare_{name}.py"
    main = runpy.run_path(str(script))["main"]
    assert main([str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert f"error: {tmp_path}" in capsys.readouterr().err
