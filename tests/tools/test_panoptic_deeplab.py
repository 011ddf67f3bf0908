"""Panoptic-DeepLab through all tools: training, evaluation, prediction, report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_runs import (
    NARROW_RESNET,
    REPOSITORY,
    prepare_tiny_shapes,
    tiny_config,
    tool_main,
    write_config,
)

HEAD = {"PROJECT_CHANNELS": [4, 4, 4], "ASPP_CHANNELS": 8, "CONVS_DIM": 8, "HEAD_CHANNELS": 8}
MODEL: dict[str, Any] = {
    "DEVICE": "cpu",
    "RESNETS": NARROW_RESNET,
    "SEM_SEG_HEAD": {"NUM_CLASSES": 6, **HEAD},
    "INS_EMBED_HEAD": HEAD,
    # All that is above 0 may be a centre: an untrained model predicts things, too.
    "PANOPTIC_DEEPLAB": {"STUFF_AREA": 1, "CENTER_THRESHOLD": 0.0},
}


def _config(folder: Path, **parts: Mapping[str, Any]) -> Path:
    root = prepare_tiny_shapes(folder / "data")
    content = tiny_config(root, folder / "output", **parts)
    content["_BASE_"] = str(REPOSITORY / "configs/base_panoptic_deeplab.yaml")
    content["MODEL"] = parts.get("MODEL", MODEL)
    return write_config(folder / "tiny.yaml", content)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OUTPUT_DIR of a training of two iterations."""
    folder = tmp_path_factory.mktemp("panoptic_deeplab")
    assert tool_main("train_net")(["--config-file", str(_config(folder))]) == 0
    return folder / "output"


def test_training_ends_with_all_figures(run: Path) -> None:
    figures = json.loads((run / "evaluation.json").read_text())
    assert {"panoptic_seg", "bbox", "segm", "sem_seg"} <= set(figures)
    assert {"IoU-disc", "IoU-sky"} <= set(figures["sem_seg"])
    lines = [json.loads(line) for line in (run / "metrics.json").read_text().splitlines()]
    assert {"loss_sem_seg", "loss_center", "loss_offset"} <= set(lines[0])


def test_prediction_needs_no_data_set(run: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((40, 50, 3), dtype=np.uint8)).save(tmp_path / "image.png")
    arguments = ["--config-file", str(run / "config.yaml"), "--input", str(tmp_path / "image.png")]
    arguments += ["--output", str(tmp_path / "out"), "--opts", "DATASETS.PANOPTIC", "[]"]
    assert tool_main("predict")(arguments) == 0
    content = json.loads((tmp_path / "out/panoptic.json").read_text())
    known = {c["id"] for c in content["categories"]}
    assert len(known) == 6
    segments = content["annotations"][0]["segments_info"]
    assert {s["category_id"] for s in segments} <= known
    assert Image.open(tmp_path / "out/overlays/image.png").size == (50, 40)


def test_report_shows_truth_and_prediction(run: Path) -> None:
    assert tool_main("report")(["--config-file", str(run / "config.yaml"), "--samples", "1"]) == 0
    assert "SegPanopticDeepLab" in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("group", "value", "message"),
    [
        ("SEM_SEG_HEAD", {"NUM_CLASSES": 4}, "has 6 stuff_classes: set MODEL.SEM_SEG_HEAD"),
        (
            "SEM_SEG_HEAD",
            {"IN_FEATURES": ["res2", "res3", "p4", "res5"]},
            "IN_FEATURES has 'p4'",
        ),
        ("PANOPTIC_DEEPLAB", {"TOP_K_INSTANCE": 2000}, "label_divisor 1000 is too small"),
    ],
)
def test_wrong_config_ends_with_its_names_and_numbers(
    group: str, value: dict[str, Any], message: str, tmp_path: Path, capsys: Any
) -> None:
    config = _config(tmp_path, MODEL=MODEL | {group: MODEL[group] | value})
    assert tool_main("train_net")(["--config-file", str(config)]) == 2
    assert message in capsys.readouterr().err


def test_input_below_the_stride_is_named(tmp_path: Path, capsys: Any) -> None:
    config = _config(tmp_path, INPUT={"MIN_SIZE_TRAIN": [8]})
    assert tool_main("train_net")(["--config-file", str(config)]) == 2
    assert "INPUT.MIN_SIZE_TRAIN is 8, less than the stride 32" in capsys.readouterr().err
