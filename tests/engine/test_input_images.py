"""Files and folders in, images with names of their own out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from seg_projects.engine.input_images import check_output, find_images
from seg_projects.errors import UserError


def _touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def _names(paths: Iterable[Path], leave_out: Path | None = None) -> list[str]:
    return [image.name for image in find_images(list(paths), leave_out=leave_out)]


def test_images_of_folders_and_files_come_in_order(tmp_path: Path) -> None:
    folder = _touch(tmp_path / "folder", "b.PNG", "a.jpg", "notes.txt", "c.jpeg", "0/z.webp")
    single = _touch(tmp_path, "z.data") / "z.data"
    found = find_images([single, folder])
    files = ["0/z.webp", "a.jpg", "b.PNG", "c.jpeg"]
    assert [image.path for image in found] == [single, *(folder / name for name in files)]
    assert [image.file_name for image in found] == ["z.data", *files]
    assert [image.name for image in found] == ["z", "0/z", "a", "b", "c"]


def test_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"The input .*absent\.png does not exist"):
        find_images([tmp_path / "absent.png"])


def test_folder_without_images_says_what_counts(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"No image \(\.bmp, \.jpeg.*in /"):
        find_images([_touch(tmp_path, "below/notes.txt")])


def test_suffixes_stay_where_they_make_the_difference(tmp_path: Path) -> None:
    # "a.jpg.png" is an image, too, so that "a.jpg" alone would not do as a name of it.
    folder = _touch(tmp_path, "a.jpg", "a.png", "b.png", "v1.2.png", "a.jpg.png", "day/a.jpg")
    assert _names([folder]) == ["a.jpg", "a.jpg.png", "a.png", "b", "day/a", "v1.2"]


def test_folders_of_one_content_are_told_apart_by_their_names(tmp_path: Path) -> None:
    folder = _touch(tmp_path, "day1/a.png", "day2/a.png", "day2/b/c.png")
    assert _names([folder / "day1", folder / "day2"]) == ["day1/a", "day2/a", "day2/b/c"]
    files = [folder / "day1" / "a.png", folder / "day2" / "a.png"]
    assert _names(files) == ["day1/a", "day2/a"]
    # Alone, each is as the folder has it.
    assert _names([folder / "day2"]) == ["a", "b/c"]
    assert _names([folder / "day1", folder / "day2" / "b"]) == ["a", "c"]


def test_paths_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(_touch(tmp_path, "here/a.png", "there/a.png") / "here")
    assert _names([Path()]) == ["a"]
    # As a message names it.
    assert [str(image.path) for image in find_images(["../there"])] == ["../there/a.png"]
    assert _names([Path(), Path("../there")]) == ["here/a", "there/a"]
    assert _names([Path("..")]) == ["here/a", "there/a"]


def test_an_image_named_twice_is_one(tmp_path: Path) -> None:
    folder = _touch(tmp_path, "a.png", "b.png")
    assert _names([folder, folder / "a.png", folder]) == ["a", "b"]


def test_hidden_files_are_passed_over(tmp_path: Path) -> None:
    # What macOS and notebooks leave behind.
    folder = _touch(tmp_path, "a.png", "._a.png", ".ipynb_checkpoints/a.png", "b/.thumbs/a.png")
    assert _names([folder]) == ["a"]


def test_earlier_output_is_left_out(tmp_path: Path) -> None:
    folder = _touch(tmp_path, "a.png", "out/overlays/a.png", "output/b.png")
    assert _names([folder], leave_out=folder / "out") == ["a", "output/b"]


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    folder, elsewhere = _touch(tmp_path / "here", "a.png"), _touch(tmp_path / "there", "b.png")
    (folder / "linked").symlink_to(elsewhere, target_is_directory=True)
    (folder / "round").symlink_to(folder, target_is_directory=True)
    assert _names([folder]) == ["a", "linked/b"]


def test_output_in_the_place_of_the_input_is_refused(tmp_path: Path) -> None:
    folder = _touch(tmp_path, "photos/labels/a.png") / "photos"
    check_output(folder / "out", [folder])
    with pytest.raises(UserError, match=r"is the folder of the images.* choose another one"):
        check_output(folder / "labels" / "..", [folder])
    with pytest.raises(UserError, match=r"a\.png is a file: choose a folder"):
        check_output(folder / "labels" / "a.png", [folder])
