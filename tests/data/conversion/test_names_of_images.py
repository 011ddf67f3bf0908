"""Names that other machines wrote, and the files that are meant."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from converted_sets import save_image

from seg_projects.data.conversion import READERS, ConversionLog, ReaderOptions
from seg_projects.data.conversion.image_files import locate_image, read_names, same_file


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("a/b/c.png", "a/b/c.png"),
        (r"C:\Users\me\a\b\c.png", "a/b/c.png"),
        ("/data/upload/1/b/d.png", "b/d.png"),
        ("../../set/a/b/c.png", "a/b/c.png"),
        ("https://host/images/d.png", "d.png"),
        ("./b/D.PNG", "b/d.png"),
        # The longest end counts.
        ("/x/b/d.png", "b/d.png"),
    ],
)
def test_the_longest_end_of_a_path_is_found(tmp_path: Path, written: str, found: str) -> None:
    for name in ("a/b/c.png", "b/d.png", "d.png"):
        save_image(tmp_path / name, 2, 2)
    path, name = locate_image(tmp_path, written)
    assert (path, name) == (tmp_path / found, found)


@pytest.mark.parametrize(
    ("written", "kept"), [("x/y.png", "x/y.png"), (r"C:\x\y.png", "y.png"), ("../y.png", "y.png")]
)
def test_a_name_without_a_file_stays_inside(tmp_path: Path, written: str, kept: str) -> None:
    assert locate_image(tmp_path, written) == (tmp_path / kept, kept)


def test_accents_may_be_written_in_two_ways(tmp_path: Path) -> None:
    stored = unicodedata.normalize("NFD", "señal.JPG")
    save_image(tmp_path / stored, 2, 2)
    written = unicodedata.normalize("NFC", "Señal.jpg")
    assert locate_image(tmp_path, written) == (tmp_path / stored, stored)


def test_two_files_that_differ_in_case_alone_are_no_guess(tmp_path: Path) -> None:
    for name in ("a.png", "A.png"):
        save_image(tmp_path / name, 2, 2)
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system has no names that differ in case alone")
    assert same_file(tmp_path / "A.png") == tmp_path / "A.png"
    assert same_file(tmp_path / "A.PNG") is None
    assert same_file(tmp_path / "a.png" / "a.png") is None


def test_labelme_names_another_case(tmp_path: Path) -> None:
    save_image(tmp_path / "a.JPG", 4, 4)
    shape = {"label": "x", "points": [[0, 0], [2, 2]], "shape_type": "rectangle"}
    content = {"imagePath": "A.jpg", "shapes": [shape], "imageHeight": 4, "imageWidth": 4}
    (tmp_path / "a.json").write_text(json.dumps(content))
    (image,) = READERS["labelme"](tmp_path, ReaderOptions(), ConversionLog())
    assert image.file_name == "a.JPG"


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes("\ufeffcat\r\ndog\r\n".encode())
    assert read_names(tmp_path / "names.txt") == {0: "cat", 1: "dog"}


def test_yolo_files_with_byte_order_marks(tmp_path: Path) -> None:
    save_image(tmp_path / "images" / "a.PNG", 10, 10)
    (tmp_path / "labels").mkdir()
    row = "\ufeff0 0.1 0.1 0.5 0.1 0.5 0.5\r\n"
    (tmp_path / "labels" / "a.txt").write_bytes(row.encode())
    (tmp_path / "data.yaml").write_bytes("\ufeffnames: [cat]\r\n".encode())
    log = ConversionLog()
    (image,) = READERS["yolo"](tmp_path, ReaderOptions(), log)
    assert not log.entries
    assert [item.label for item in image.objects] == ["cat"]
