"""A model sees single images as an evaluation shows them, and answers as there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import REPOSITORY, TINY_MODEL, tiny_config, write_config

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.modeling import GeneralizedRCNNWithTTA
from seg_projects.data import declare_all
from seg_projects.data.instance_mapper import InstanceMapper
from seg_projects.engine import SegTrainer, load_config
from seg_projects.engine.image_model import ImageModel
from seg_projects.engine.input_images import read_image_rgb
from seg_projects.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 45, 3), np.uint8)


def _config(folder: Path, **parts: Any) -> CfgNode:
    content = {
        "_BASE_": str(REPOSITORY / "configs" / "base_semantic.yaml"),
        "MODEL": {
            "DEVICE": "cpu",
            "UNET": {"CHANNELS": [4, 8]},
            "SEM_SEG_HEAD": {"NUM_CLASSES": 2, "IN_FEATURES": ["down0", "down1"]},
            **parts.pop("MODEL", {}),
        },
        "INPUT": {"MIN_SIZE_TEST": 32, "MAX_SIZE_TEST": 60, **parts.pop("INPUT", {})},
        **parts,
    }
    return load_config(write_config(folder / "config.yaml", content))


def _save(path: Path, kind: str) -> Path:
    image, exif = Image.fromarray(PIXELS), Image.Exif()
    if kind == "16 bits":
        image = Image.fromarray(PIXELS[:, :, 0].astype(np.uint16) * 251)
    elif kind == "turned":
        exif[0x0112] = 6
    else:
        image = image.convert(kind)
    image.save(path, exif=exif)
    return path


@pytest.mark.parametrize("image_format", ["BGR", "RGB", "L"])
@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        ("RGB", "jpg"),
        ("L", "png"),
        ("LA", "png"),
        ("RGBA", "png"),
        ("P", "png"),
        ("CMYK", "jpg"),
        ("1", "png"),
        ("16 bits", "png"),
        ("turned", "jpg"),
    ],
)
def test_images_of_all_kinds_are_what_the_mapper_gives(
    tmp_path: Path, kind: str, suffix: str, image_format: str
) -> None:
    mean = {"PIXEL_MEAN": [0.0], "PIXEL_STD": [1.0]} if image_format == "L" else {}
    cfg = _config(tmp_path, INPUT={"FORMAT": image_format}, MODEL=mean)
    path = _save(tmp_path / f"image.{suffix}", kind)
    wanted = InstanceMapper(cfg, is_train=False)({"file_name": str(path)})
    model = ImageModel(cfg)
    found = model.inputs(read_image_rgb(path))
    assert found["image"].dtype == wanted["image"].dtype
    torch.testing.assert_close(found["image"], wanted["image"], rtol=0, atol=0)
    assert (found["height"], found["width"]) == ((45, 20) if kind == "turned" else (20, 45))
    assert model(read_image_rgb(path))["sem_seg"].shape == (2, found["height"], found["width"])


class _Recorder(DatasetEvaluator):
    def __init__(self) -> None:
        self.instances: list[Any] = []

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        self.instances += [output["instances"].to("cpu") for output in outputs]


@pytest.mark.parametrize("enabled", [True, False])
def test_detectors_find_what_an_evaluation_finds(
    enabled: bool, tiny_root: Path, tmp_path: Path
) -> None:
    model = TINY_MODEL | {"META_ARCHITECTURE": "GeneralizedRCNN"}
    aug = {"ENABLED": enabled, "MIN_SIZES": [48, 80], "MAX_SIZE": 90}
    content = tiny_config(tiny_root, tmp_path / "out", MODEL=model, TEST={"AUG": aug})
    cfg = load_config(write_config(tmp_path / "config.yaml", content))
    declare_all(cfg)
    predict, recorder = ImageModel(cfg), _Recorder()
    whole = GeneralizedRCNNWithTTA(cfg, predict.model).eval() if enabled else predict.model
    SegTrainer.test(cfg, whole, [recorder])
    records = DatasetCatalog.get("tiny_val")
    assert len(recorder.instances) == len(records) == 2
    for record, wanted in zip(records, recorder.instances, strict=True):
        found = predict(read_image_rgb(Path(record["file_name"])))["instances"]
        assert len(found) == len(wanted) > 0
        for name in ("scores", "pred_classes", "pred_masks"):
            assert torch.equal(found.get(name), wanted.get(name))
        assert torch.equal(found.pred_boxes.tensor, wanted.pred_boxes.tensor)


def test_augmentation_that_a_model_has_not_is_a_mistake(tiny_root: Path, tmp_path: Path) -> None:
    content = tiny_config(tiny_root, tmp_path / "out", TEST={"AUG": {"ENABLED": True}})
    cfg = load_config(write_config(tmp_path / "config.yaml", content))
    with pytest.raises(UserError, match=r"TEST\.AUG\.ENABLED is True, but .* SegPanopticFPN has"):
        ImageModel(cfg)
