"""The zoo's configurations equal the recorded ones; its names lead to the recorded URLs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from golden import REFERENCE, reference_json

from detectron2 import model_zoo
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg

CONFIGS = Path(model_zoo.__file__).parent / "configs"
PANOPTIC_BASE = "COCO-PanopticSegmentation/Base-Panoptic-FPN"
R50 = "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
NOT_OFFERED = ("COCO-Detection/retinanet",)


def recorded_names() -> list[str]:
    if not (REFERENCE / "model_configs.json").is_file():
        return []
    return [n for n in reference_json("model_configs.json") if not n.startswith(("_", "projects/"))]


def as_lists(value: Any) -> Any:
    """JSON has no tuples."""
    return [as_lists(v) for v in value] if isinstance(value, (list, tuple)) else value


def flat(cfg: CfgNode, prefix: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            values |= flat(value, f"{prefix}{key}.")
        else:
            values[prefix + key] = as_lists(value)
    return values


@pytest.mark.parametrize("name", recorded_names())
def test_a_config_is_the_defaults_plus_the_recorded_differences(name: str) -> None:
    recorded = reference_json("model_configs.json")[name]["differs_from_default"]
    assert flat(model_zoo.get_config(name + ".yaml")) == flat(get_cfg()) | recorded


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_file_loads_and_names_weights_unless_it_starts_from_scratch(path: Path) -> None:
    weights = model_zoo.get_config(str(path.relative_to(CONFIGS))).MODEL.WEIGHTS
    if path.stem.startswith(("scratch", "Base")):
        assert weights == ""
    else:
        assert weights.startswith(("detectron2://", "catalog://"))


@pytest.mark.parametrize(
    ("name", "base", "differences"),
    [
        (
            "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x_giou",
            "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x",
            {
                "MODEL.RPN.BBOX_REG_LOSS_TYPE": "giou",
                "MODEL.RPN.BBOX_REG_LOSS_WEIGHT": 2.0,
                "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": "giou",
                "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT": 10.0,
            },
        ),
        (
            "Misc/mask_rcnn_R_50_FPN_1x_cls_agnostic",
            "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x",
            {
                "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": True,
                "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK": True,
            },
        ),
        (
            "Detectron1-Comparisons/mask_rcnn_R_50_FPN_noaug_1x",
            "Detectron1-Comparisons/faster_rcnn_R_50_FPN_noaug_1x",
            {
                "MODEL.MASK_ON": True,
                "MODEL.ROI_MASK_HEAD.POOLER_TYPE": "ROIAlign",
                "MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO": 2,
            },
        ),
        ("COCO-PanopticSegmentation/panoptic_fpn_R_50_1x", PANOPTIC_BASE, {"MODEL.WEIGHTS": R50}),
        ("COCO-Detection/faster_rcnn_R_50_FPN_1x", "Base-RCNN-FPN", {"MODEL.WEIGHTS": R50}),
    ],
)
def test_configs_differ_in_what_their_names_say(
    name: str, base: str, differences: dict[str, Any]
) -> None:
    # Bases start from random values, as in Detectron2: configs of one's own build on them.
    expected = flat(model_zoo.get_config(base + ".yaml")) | differences
    assert flat(model_zoo.get_config(name + ".yaml")) == expected


def test_every_published_model_of_the_offered_kinds_has_its_config() -> None:
    published = reference_json("model_zoo.json")["checkpoints"]
    offered = {n for n in published if not n.startswith(NOT_OFFERED)}
    assert {n for n in published if (CONFIGS / f"{n}.yaml").is_file()} == offered


def test_every_recorded_name_has_its_url() -> None:
    recorded = reference_json("model_zoo.json")["checkpoints"]
    assert {n: model_zoo.get_checkpoint_url(n + ".yaml") for n in recorded} == recorded


@pytest.mark.parametrize("suffix", ["", ".yaml"])
def test_the_suffix_of_a_name_does_not_matter_for_its_url(suffix: str) -> None:
    url = model_zoo.get_checkpoint_url("Cityscapes/mask_rcnn_R_50_FPN" + suffix)
    assert url.endswith("/Cityscapes/mask_rcnn_R_50_FPN/142423278/model_final_af9cf5.pkl")


def test_trained_configs_start_from_the_trained_weights() -> None:
    name = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"
    untrained, trained = model_zoo.get_config(name), model_zoo.get_config(name, trained=True)
    assert untrained.MODEL.WEIGHTS == "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
    assert model_zoo.get_checkpoint_url(name) == trained.MODEL.WEIGHTS


def test_an_unknown_config_is_answered_with_the_nearest() -> None:
    with pytest.raises(RuntimeError, match=r"nearest name is .*/mask_rcnn_R_50_FPN_3x\.yaml"):
        model_zoo.get_config_file("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3.yaml")
    with pytest.raises(RuntimeError, match="nearest name is Cityscapes/mask_rcnn_R_50_FPN"):
        model_zoo.get_checkpoint_url("Cityscapes/mask_rcnn_R_500_FPN.yaml")


def test_a_config_without_published_weights_has_no_url() -> None:
    assert model_zoo.get_config_file("Misc/semantic_R_50_FPN_1x.yaml")
    with pytest.raises(RuntimeError, match="semantic_R_50_FPN_1x"):
        model_zoo.get_checkpoint_url("Misc/semantic_R_50_FPN_1x.yaml")


@pytest.mark.parametrize("trained", [True, False])
def test_a_model_is_built_on_the_device_and_its_weights_loaded(
    trained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[tuple[Any, str]] = []

    def load(self: DetectionCheckpointer, path: str) -> None:
        loaded.append((self.model, path))

    monkeypatch.setattr(DetectionCheckpointer, "load", load)
    name = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"
    model = model_zoo.get(name, trained=trained, device="cpu")
    assert model.device == torch.device("cpu")
    assert loaded == [(model, model_zoo.get_config(name, trained).MODEL.WEIGHTS)]
