"""Predictions of a trained run on files."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_runs import tool_main

from seg_projects.data.panoptic_ids import read_panoptic_ids


def _predict(*arguments: str | Path) -> int:
    return tool_main("predict")([str(argument) for argument in arguments])


def test_files_of_a_folder_agree_with_the_json(
    tiny_run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tiny_run.root / "shapes" / "val"
    arguments = ("--input", images, "--output", tmp_path)
    assert _predict("--config-file", tiny_run.config, *arguments) == 0
    assert "2 images" in capsys.readouterr().out
    content = json.loads((tmp_path / "panoptic.json").read_text())
    is_thing = {c["id"]: c["isthing"] for c in content["categories"]}
    assert is_thing == {1: 1, 3: 1, 7: 1, 20: 0, 21: 0, 25: 0}
    assert len(content["annotations"]) == 2
    for annotation in content["annotations"]:
        ids = read_panoptic_ids(tmp_path / "panoptic" / annotation["file_name"])
        labels = np.asarray(Image.open(tmp_path / "labels" / annotation["file_name"]))
        segments = annotation["segments_info"]
        assert segments
        assert set(np.unique(ids)) - {0} == {segment["id"] for segment in segments}
        for segment in segments:
            assert segment["area"] == (ids == segment["id"]).sum()
            assert set(labels[ids == segment["id"]]) == {segment["category_id"]}
            assert segment["isthing"] == is_thing[segment["category_id"]]
        assert not labels[ids == 0].any()


def test_prediction_of_a_data_set_scores_what_its_evaluation_does(
    tiny_run: Any, tmp_path: Path
) -> None:
    shapes = tiny_run.root / "shapes"
    arguments = ("--input", shapes / "val", "--output", tmp_path)
    assert _predict("--config-file", tiny_run.config, *arguments) == 0
    truth = json.loads((shapes / "annotations" / "panoptic_val.json").read_text())
    for entry in truth["images"]:
        entry["id"] += 1000
    for entry in truth["annotations"]:
        entry["image_id"] += 1000
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    sides = (
        *("--truth", tmp_path / "truth.json"),
        *("--truth-masks", shapes / "annotations" / "panoptic_val"),
        *("--predictions", tmp_path / "panoptic.json"),
        *("--prediction-masks", tmp_path / "panoptic"),
    )
    report = ("--json", tmp_path / "scores.json")
    assert tool_main("evaluate")(["panoptic", *map(str, (*sides, *report))]) == 0
    scored = json.loads((tmp_path / "scores.json").read_text())["per_category"]
    evaluated = json.loads((tiny_run.output / "evaluation.json").read_text())["panoptic_seg"]
    counts = {f"{key}-{name}": row[key] for name, row in scored.items() for key in ("FP", "FN")}
    assert sum(counts.values()) > 0
    assert counts == {key: evaluated[key] for key in counts}


def test_prediction_needs_no_training_data(
    tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = shutil.copy(next((tiny_run.root / "shapes" / "val").iterdir()), tmp_path / "one.jpg")
    gone = ("DATASETS.ROOT", tmp_path / "gone")
    arguments = ("--input", image, "--output", tmp_path / "out", "--opts", *gone)
    assert _predict("--config-file", tiny_run.config, *arguments) == 0
    assert (tmp_path / "out" / "labels" / "one.png").is_file()


def test_prediction_has_the_size_of_the_image(tiny_run: Any, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (37, 91), np.uint8)
    Image.fromarray(noise).save(tmp_path / "grey.png")
    arguments = ("--input", tmp_path / "grey.png", "--output", tmp_path / "out")
    assert _predict("--config-file", tiny_run.config, *arguments) == 0
    for folder in ("overlays", "panoptic", "labels"):
        assert Image.open(tmp_path / "out" / folder / "grey.png").size == (91, 37)


def test_missing_weights_are_a_mistake(
    tiny_run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tiny_run.root / "shapes" / "val"
    overrides = ("--opts", "MODEL.WEIGHTS", "absent.pth")
    arguments = ("--input", images, "--output", tmp_path, *overrides)
    assert _predict("--config-file", tiny_run.config, *arguments) == 2
    assert capsys.readouterr().err == "error: The weights absent.pth do not exist.\n"
    assert not os.listdir(tmp_path)


def test_missing_input_is_a_mistake(
    tiny_run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--input", tmp_path / "absent", "--output", tmp_path)
    assert _predict("--config-file", tiny_run.config, *arguments) == 2
    assert capsys.readouterr().err == f"error: The input {tmp_path / 'absent'} does not exist.\n"


def test_no_readable_image_is_status_1(tiny_run: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_text("no image")
    arguments = ("--input", tmp_path, "--output", tmp_path / "out")
    assert _predict("--config-file", tiny_run.config, *arguments) == 1
    assert not (tmp_path / "out").exists()


def test_others_go_on_where_one_image_is_unreadable(
    tiny_run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, broken = next((tiny_run.root / "shapes" / "val").iterdir()), tmp_path / "b.jpg"
    (tmp_path / "below").mkdir()
    for name in ("a.jpg", "a.jpeg", "below/a.jpg"):
        shutil.copy(source, tmp_path / name)
    broken.write_bytes(source.read_bytes()[:200])
    arguments = ("--input", tmp_path, "--output", tmp_path / "out")
    assert _predict("--config-file", tiny_run.config, *arguments) == 1
    output = capsys.readouterr()
    assert "3 images in" in output.out
    assert output.err.endswith(f"error: 1 of 4 images could not be read: {broken}\n")
    images = json.loads((tmp_path / "out" / "panoptic.json").read_text())["images"]
    assert [image["file_name"] for image in images] == ["a.jpeg", "a.jpg", "below/a.jpg"]
    labels = tmp_path / "out" / "labels"
    written = {path.relative_to(labels).as_posix() for path in labels.rglob("*.png")}
    assert written == {"a.jpeg.png", "a.jpg.png", "below/a.png"}
