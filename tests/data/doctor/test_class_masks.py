"""The doctor on masks of classes: a test per defect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from converted_sets import save_image
from PIL import Image
from tiny_runs import tool_main


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two images with masks of two classes that overlap."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        _save(tmp_path / "images" / f"{name}.png", rng.integers(0, 255, (16, 20, 3), np.uint8))
        for label in ("road", "mark"):
            mask = np.zeros((16, 20), np.uint8)
            mask[4:, : 5 if label == "mark" else 9] = 255
            _save(tmp_path / "masks" / label / f"{name}.png", mask)
    return tmp_path


def _inspect(root: Path, *options: str) -> int:
    folders = [str(root / "images"), "--class-masks", str(root / "masks")]
    return tool_main("inspect_data")([*folders, "--classes", "road,mark", *options])


def test_clean_masks_pass_and_the_page_shows_them(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _inspect(root, "--html", str(root / "page.html")) == 0
    text = capsys.readouterr().out
    assert "No defects found." in text
    assert "2 images, 4 objects, 2 categories" in text
    assert (root / "page.html").read_text().count("data:image/jpeg") == 2


@pytest.mark.parametrize(
    ("kind", "plant"),
    [
        ("missing class mask", lambda root: save_image(root / "images" / "c.png", 20, 16)),
        ("missing image", lambda root: (root / "images" / "a.png").unlink()),
        ("unreadable class mask", lambda root: (root / "masks/mark/a.png").write_text("x")),
        ("unreadable class mask", lambda root: save_image(root / "masks/mark/a.png", 20, 16)),
        (
            "class mask of another size",
            lambda root: _save(root / "masks/mark/a.png", np.ones((9, 9), np.uint8)),
        ),
        (
            "value in a class mask",
            lambda root: _save(root / "masks/mark/a.png", np.full((16, 20), 128, np.uint8)),
        ),
        ("unreadable image", lambda root: (root / "images" / "a.png").write_text("x")),
    ],
)
def test_a_defect_is_found(
    root: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    plant: Callable[[Path], object],
) -> None:
    plant(root)
    assert _inspect(root) == 1
    assert kind in capsys.readouterr().out


def test_a_class_without_pixels_is_a_warning(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (root / "masks" / "mark").iterdir():
        _save(file, np.zeros((16, 20), np.uint8))
    assert _inspect(root) == 0
    assert "mark: no mask has a pixel of it" in capsys.readouterr().out


def test_an_ignored_value_is_no_defect(root: Path) -> None:
    _save(root / "masks" / "mark" / "a.png", np.full((16, 20), 128, np.uint8))
    assert _inspect(root, "--ignore-label", "128") == 0


def test_names_of_the_classes_are_asked_for(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(root / "images"), "--class-masks", str(root / "masks")]
    assert tool_main("inspect_data")(folders) == 2
    assert "--class-masks needs --classes" in capsys.readouterr().err
