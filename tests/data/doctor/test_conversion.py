"""Files of annotation tools under the doctor, before any conversion."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from converted_sets import save_image
from tiny_runs import tool_main

from seg_projects.data.conversion import ReaderOptions
from seg_projects.data.conversion.coco_panoptic import write_png
from seg_projects.data.doctor import inspect_data, read_converted
from seg_projects.errors import UserError


def _write_maps(root: Path) -> None:
    for number, name in enumerate("ab"):
        save_image(root / "images" / f"{name}.png", 6 + number, 4)
        values = np.zeros((4, 6 + number), np.uint16)
        values[1:3, 1:3], values[1:3, 4:] = 300, 7
        write_png(root / "maps" / f"{name}.png", values)


def _inspect(root: Path, *options: str) -> int:
    arguments = [str(root / "maps"), "--tool", "instance-maps", "--images", str(root / "images")]
    return tool_main("inspect_data")([*arguments, *options])


def test_clean_masks_are_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write_maps(tmp_path)
    assert _inspect(tmp_path, "--html", str(tmp_path / "page.html")) == 0
    printed = capsys.readouterr().out
    assert "2 images, 4 objects, 1 categories" in printed
    assert "No defects found." in printed


def test_what_a_reader_leaves_out_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write_maps(tmp_path)
    write_png(tmp_path / "maps" / "b.png", np.zeros((3, 3), np.uint8))
    assert _inspect(tmp_path) == 1
    printed = capsys.readouterr().out
    assert "left out by the reader" in printed
    assert "size mismatch" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--tool", "psd"], "'psd' is unknown; known are labelme"), ([], "no COCO file")],
)
def test_wrong_tools_are_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    path = tmp_path / "a.json"
    path.write_text("[]")
    assert tool_main("inspect_data")([str(path), *options]) == 2
    assert message in capsys.readouterr().err


def test_real_nuclei_are_clean(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "dsb2018_nuclei" / "stage1_train"
    names = sorted(path.name for path in source.iterdir())[:4]
    for name in names:
        (tmp_path / name).symlink_to(source / name)
    options = ReaderOptions(default_label="nucleus")
    content, images, found = read_converted("mask-folders", tmp_path, options)
    assert found == []
    objects = sum(len(list((source / name / "masks").iterdir())) for name in names)
    assert len(content["annotations"]) == objects
    assert content["categories"] == [{"id": 1, "name": "nucleus"}]
    assert inspect_data(content, images, tmp_path, workers=1) == []


def test_embedded_images_are_to_be_converted_first(tmp_path: Path) -> None:
    import base64

    save_image(tmp_path / "a.png", 6, 4)
    content = {
        "imagePath": "a.png",
        "imageData": base64.b64encode((tmp_path / "a.png").read_bytes()).decode(),
        "imageHeight": 4,
        "imageWidth": 6,
        "shapes": [],
    }
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "a.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="embedded in its annotations"):
        read_converted("labelme", tmp_path / "only", ReaderOptions())
