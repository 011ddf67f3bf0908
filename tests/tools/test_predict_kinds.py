"""Predictions and reports of semantic models and detectors, from files to files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import REPOSITORY, TINY_MODEL, tool_main, write_config

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model
from seg_projects.engine import load_config
from seg_projects.engine.prediction import prediction_kind

SIZE = 64


def _write_images(root: Path, count: int = 2) -> None:
    """A bright square of its own place in each image, with its label map and COCO annotation."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    annotations = []
    for number in range(count):
        left = 8 * number
        labels = np.zeros((SIZE, SIZE), np.uint8)
        labels[8:24, left : left + 16] = 1
        pixels = np.where(labels[..., None] == 1, 220, 40).astype(np.uint8).repeat(3, axis=2)
        Image.fromarray(pixels).save(root / "images" / f"{number}.png")
        Image.fromarray(labels).save(root / "labels" / f"{number}.png")
        right = left + 16
        annotations.append(
            {
                "id": number + 1,
                "image_id": number,
                "category_id": 7,
                "iscrowd": 0,
                "area": 256,
                "bbox": [left, 8, 16, 16],
                "segmentation": [[left, 8, right, 8, right, 24, left, 24]],
            }
        )
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "height": SIZE, "width": SIZE} for i in range(count)
        ],
        "annotations": annotations,
        "categories": [{"id": 7, "name": "square"}],
    }
    (root / "all.json").write_text(json.dumps(content))


def _config(kind: str, root: Path, output: Path) -> dict[str, Any]:
    base, model = {
        "semantic": ("base_semantic.yaml", {"UNET": {"CHANNELS": [8, 8, 8]}}),
        "instances": ("base_mask_rcnn.yaml", TINY_MODEL | {"META_ARCHITECTURE": "GeneralizedRCNN"}),
    }[kind]
    head: dict[str, Any] = {"NUM_CLASSES": 2}
    if kind == "semantic":
        head["IN_FEATURES"] = ["down0", "down1", "down2"]
    sizes = {"MIN_SIZE_TEST": SIZE, "MAX_SIZE_TEST": SIZE}
    return {
        "_BASE_": str(REPOSITORY / "configs" / base),
        "DATASETS": {
            "ROOT": str(root),
            "SEMANTIC": [
                {
                    "NAME": "squares_semantic",
                    "IMAGES": "images",
                    "LABELS": "labels",
                    "CLASSES": ["rest", "square"],
                }
            ],
            "INSTANCES": [
                {"NAME": "squares_instances", "IMAGES": "images", "INSTANCES_JSON": "all.json"}
            ],
            "TRAIN": [f"squares_{kind}"],
            "TEST": [f"squares_{kind}"],
        },
        "MODEL": {
            **model,
            "DEVICE": "cpu",
            "SEM_SEG_HEAD": head,
            "ROI_HEADS": {"NUM_CLASSES": 1, "SCORE_THRESH_TEST": 0.0},
        },
        "INPUT": sizes,
        "DATALOADER": {"NUM_WORKERS": 0},
        "OUTPUT_DIR": str(output),
    }


@pytest.fixture(scope="module", params=["semantic", "instances"])
def run(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """The kind, the data and the folder of an evaluated model with random weights."""
    folder = tmp_path_factory.mktemp(request.param)
    root, output = folder / "data", folder / "output"
    _write_images(root)
    config = write_config(folder / "config.yaml", _config(request.param, root, output))
    torch.manual_seed(0)
    model = build_model(load_config(config))
    output.mkdir()
    DetectionCheckpointer(model, save_dir=str(output)).save("model_final")
    weights = ["MODEL.WEIGHTS", str(output / "model_final.pth")]
    arguments = ["--config-file", str(config), "--eval-only", *weights]
    assert tool_main("train_net")(arguments) == 0
    return request.param, root, output


def test_predictions_are_written(
    run: tuple[str, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, root, output = run
    arguments = ["--input", str(root / "images"), "--output", str(tmp_path)]
    # The data set is gone: the folder of the model is all that is needed.
    gone = ["--opts", "DATASETS.ROOT", str(tmp_path / "gone")]
    config = str(output / "config.yaml")
    assert tool_main("predict")(["--config-file", config, *arguments, *gone]) == 0
    assert Image.open(tmp_path / "overlays" / "1.png").size == (SIZE, SIZE)
    if kind == "semantic":
        assert (tmp_path / "classes.txt").read_text() == "rest\nsquare\n"
        labels = np.asarray(Image.open(tmp_path / "labels" / "0.png"))
        assert set(np.unique(labels)) <= {0, 1}
        assert "2 images in" in capsys.readouterr().out
        return
    content = json.loads((tmp_path / "instances.json").read_text())
    assert content["categories"] == [{"id": 7, "name": "square"}]
    assert [image["file_name"] for image in content["images"]] == ["0.png", "1.png"]
    assert {a["category_id"] for a in content["annotations"]} == {7}
    assert {"segmentation", "bbox", "score", "area"} <= content["annotations"][0].keys()


def test_sizes_and_mirror_images_of_the_config_count(
    run: tuple[str, Path, Path], tmp_path: Path
) -> None:
    kind, root, output = run
    arguments = ["--config-file", str(output / "config.yaml"), "--input", str(root / "images")]
    sizes = ["TEST.AUG.ENABLED", "True", "TEST.AUG.MIN_SIZES", "(96,)", "TEST.AUG.MAX_SIZE", "96"]
    for name, overrides in (("plain", []), ("augmented", ["--opts", *sizes])):
        folder = ["--output", str(tmp_path / name)]
        assert tool_main("predict")([*arguments, *folder, *overrides]) == 0
    file = "labels/0.png" if kind == "semantic" else "instances.json"
    plain, augmented = (tmp_path / name / file for name in ("plain", "augmented"))
    assert plain.read_bytes() != augmented.read_bytes()


def test_report_shows_every_image(run: tuple[str, Path, Path]) -> None:
    kind, _, output = run
    assert tool_main("report")(["--config-file", str(output / "config.yaml")]) == 0
    page = (output / "report.html").read_text()
    assert len(list((output / "report").glob("*.png"))) == 2
    assert ("mIoU" in page) == (kind == "semantic")
    assert ("1 object, " in page) == (kind == "instances")


def test_the_architecture_names_the_kind() -> None:
    cfg = load_config(REPOSITORY / "configs/quickstart/panoptic_fpn_shapes.yaml")
    for name, kind in (
        ("SegPanopticDeepLab", "panoptic"),
        ("SegSemanticSegmentor", "semantic"),
        ("GeneralizedRCNN", "instances"),
    ):
        cfg.MODEL.META_ARCHITECTURE = name
        assert prediction_kind(cfg) == kind
