"""Weights of any known naming: loaded, named where they do not fit, never executed."""

from __future__ import annotations

import logging
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from seg_projects import add_seg_projects_config
from seg_projects.engine import load_weights
from seg_projects.engine.weight_names import rename_for
from seg_projects.engine.weights import read_weights
from seg_projects.errors import UserError


def _cfg(**keys: Any) -> CfgNode:
    import seg_projects.modeling  # noqa: F401 - registers

    cfg = get_cfg()
    add_seg_projects_config(cfg)
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "cpu", ""
    cfg.MODEL.META_ARCHITECTURE = "SegSemanticSegmentor"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 18, 64
    cfg.MODEL.RESNETS.STRIDE_IN_1X1, cfg.MODEL.RESNETS.NORM = False, "BN"
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res5"]
    head = cfg.MODEL.SEM_SEG_HEAD
    head.NAME, head.NUM_CLASSES, head.CONVS_DIM, head.NORM = "FCNHead", 3, 8, "BN"
    head.IN_FEATURES = ["res5"]
    cfg.merge_from_list([part for item in keys.items() for part in item])
    return cfg


DEEP_STEM = {
    "MODEL.BACKBONE.NAME": "build_resnet_deeplab_backbone",
    "MODEL.RESNETS.DEPTH": 50,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 256,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 128,
    "MODEL.RESNETS.RES5_MULTI_GRID": [1, 1, 1],
}
TIMM = {"MODEL.BACKBONE.NAME": "build_timm_backbone", "MODEL.TIMM.NAME": "resnet18"}


def _random(shapes: nn.Module) -> dict[str, Tensor]:
    """Weights of a model built without memory, each tensor with values of its own."""
    return {
        name: torch.full(value.shape, number % 97, dtype=value.dtype, device="cpu")
        for number, (name, value) in enumerate(shapes.state_dict().items())
    }


def _sums(weights: dict[str, Tensor]) -> list[float]:
    return [weight.sum().item() for weight in weights.values()]


def _resnet18() -> dict[str, Tensor]:
    from torchvision.models import resnet18

    with torch.device("meta"):
        return _random(resnet18())


def _save(path: Path, weights: Any) -> str:
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(weights, path)
    else:
        torch.save(weights, path)
    return str(path)


def _load(cfg: CfgNode, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    model = build_model(cfg)
    load_weights(cfg, model, **options)
    return model


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("backbone", [{}, TIMM], ids=["resnet", "timm"])
def test_torchvision_resnet_fills_a_backbone(
    tmp_path: Path, backbone: dict[str, Any], suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    if backbone:
        pytest.importorskip("timm", reason="the extra `models` is not installed")
    weights = _resnet18()
    cfg = _cfg(**backbone)
    cfg.MODEL.WEIGHTS = _save(tmp_path / f"resnet18{suffix}", weights)
    with caplog.at_level(logging.INFO):
        model = _load(cfg)
    loaded = {n: w for n, w in model.backbone.state_dict().items() if "num_batches" not in n}
    wanted = {n: w for n, w in weights.items() if "num_batches" not in n and "fc." not in n}
    # Equal but for the names; the values tell the tensors apart.
    assert sorted(_sums(loaded)) == sorted(_sums(wanted))
    first, last = ("stem.conv1", "res5.1.conv2.norm")
    if backbone:
        first, last = ("model.conv1", "model.layer4.1.bn2")
    assert torch.equal(loaded[f"{first}.weight"], weights["conv1.weight"])
    assert torch.equal(loaded[f"{last}.running_var"], weights["layer4.1.bn2.running_var"])
    report = [r.getMessage() for r in caplog.records if "MODEL.WEIGHTS" in r.getMessage()]
    assert len(report) == 1
    assert "not in the file: sem_seg_head.conv (5), sem_seg_head.score (2)" in report[0]
    unused = report[0].rpartition("in the file, but not used: ")[2]
    place = "backbone.model.fc" if backbone else "backbone.fc"
    assert sorted(unused.rstrip(".").split(", ")) == [f"{place}.bias", f"{place}.weight"]


def test_deep_stem_of_timm_fills_a_deeplab_resnet() -> None:
    timm = pytest.importorskip("timm", reason="the extra `models` is not installed")
    with torch.device("meta"):
        weights = _random(timm.create_model("resnet50s", pretrained=False))
        model = build_model(_cfg(**DEEP_STEM, **{"MODEL.DEVICE": "meta"}))
    naming = rename_for(model, weights)
    assert {n for n in naming.weights if n not in model.state_dict()} == {
        "backbone.fc.weight",
        "backbone.fc.bias",
    }
    for ours, theirs in (
        ("stem.conv1.weight", "conv1.0.weight"),
        ("stem.conv1.norm.bias", "conv1.1.bias"),
        ("stem.conv3.weight", "conv1.6.weight"),
        ("stem.conv3.norm.running_mean", "bn1.running_mean"),
        ("res2.0.shortcut.norm.weight", "layer1.0.downsample.1.weight"),
        ("res5.2.conv3.norm.weight", "layer4.2.bn3.weight"),
    ):
        assert naming.weights[f"backbone.{ours}"] is weights[theirs]


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.backbone."])
def test_detectron2_backbone_is_found_behind_any_prefix(prefix: str) -> None:
    with torch.device("meta"):
        model = build_model(_cfg(**{"MODEL.DEVICE": "meta"}))
    weights = {f"{prefix}{n}": w for n, w in model.backbone.state_dict().items()}
    naming = rename_for(model, weights)
    assert naming.weights.keys() == {f"backbone.{n}" for n in model.backbone.state_dict()}


def test_position_embedding_is_resized() -> None:
    timm = pytest.importorskip("timm", reason="the extra `models` is not installed")
    theirs = timm.create_model("vit_tiny_patch16_224", img_size=32, pretrained=False, depth=1)
    cfg = _cfg(**{**TIMM, "MODEL.TIMM.NAME": "vit_tiny_patch16_224"})
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["block11"]
    model = build_model(cfg)
    naming = rename_for(model, theirs.state_dict())
    assert naming.weights["backbone.model.pos_embed"].shape == (1, 1 + 14 * 14, 192)
    assert naming.fits == naming.matches


def test_checkpoint_of_ones_own_loads_in_full(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = _load(_cfg())
    cfg = _cfg()
    cfg.MODEL.WEIGHTS = _save(tmp_path / "m.pth", {"model": source.state_dict(), "iteration": 7})
    torch.manual_seed(1)
    target = build_model(cfg)
    with caplog.at_level(logging.INFO):
        load_weights(cfg, target)
    for name, value in source.state_dict().items():
        assert torch.equal(value, target.state_dict()[name])
    (report,) = [r.getMessage() for r in caplog.records if "MODEL.WEIGHTS" in r.getMessage()]
    assert report.endswith("parameters and buffers loaded.")


PANOPTIC = {
    "MODEL.META_ARCHITECTURE": "SegPanopticFPN",
    "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.FPN.OUT_CHANNELS": 8,
    "MODEL.ANCHOR_GENERATOR.SIZES": [[8], [16], [32], [64], [128]],
    "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
    "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
    "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
    "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 8,
    "MODEL.MASK_ON": True,
    "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead",
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 1,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 8,
    "MODEL.SEM_SEG_HEAD.NAME": "SemSegFPNHead",
    "MODEL.SEM_SEG_HEAD.IN_FEATURES": ["p2", "p3", "p4", "p5"],
    "MODEL.SEM_SEG_HEAD.NORM": "",
}
CLASSIFIERS = (
    "roi_heads.box_predictor.cls_score",
    "roi_heads.box_predictor.bbox_pred",
    "roi_heads.mask_head.predictor",
    "sem_seg_head.predictor",
)


@pytest.fixture(scope="module")
def coco_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Tensor]]:
    """A model of 80 things and 54 classes of stuff, and the file of it."""
    torch.manual_seed(2)
    counts = {"MODEL.ROI_HEADS.NUM_CLASSES": 80, "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 54}
    weights = build_model(_cfg(**PANOPTIC, **counts)).state_dict()
    path = tmp_path_factory.mktemp("coco") / "model_final.pth"
    return _save(path, {"model": weights}), weights


FEW = {"MODEL.ROI_HEADS.NUM_CLASSES": 2, "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 3}


def test_classifiers_of_other_classes_start_anew_and_all_else_is_loaded(
    coco_model: tuple[str, dict[str, Tensor]], caplog: pytest.LogCaptureFixture
) -> None:
    path, weights = coco_model
    cfg = _cfg(**PANOPTIC, **FEW)
    fresh = _load(cfg).state_dict()
    cfg.MODEL.WEIGHTS = path
    with caplog.at_level(logging.INFO):
        loaded = _load(cfg, replace_classifier=True).state_dict()
    for name, value in loaded.items():
        anew = name.rpartition(".")[0] in CLASSIFIERS
        assert torch.equal(value, fresh[name] if anew else weights[name]), name
    (report,) = [r.getMessage() for r in caplog.records if "MODEL.WEIGHTS" in r.getMessage()]
    assert "start anew: roi_heads.box_predictor (4), roi_heads.mask_head (2)" in report
    assert "sem_seg_head.predictor (2)." in report


def test_other_classes_are_an_error_unless_asked_for(
    coco_model: tuple[str, dict[str, Tensor]],
) -> None:
    cfg = _cfg(**PANOPTIC, **FEW)
    cfg.MODEL.WEIGHTS = coco_model[0]
    with pytest.raises(
        UserError,
        match=r"cls_score\.weight of the shape \(81, 8\), .* of \(3, 8\).*REPLACE_CLASSIFIER",
    ):
        _load(cfg)


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("MODEL.ROI_BOX_HEAD.FC_DIM", 16, "roi_heads.box_head.fc1.weight"),
        ("MODEL.FPN.OUT_CHANNELS", 16, "backbone.fpn_lateral2.weight"),
    ],
)
def test_other_shapes_elsewhere_are_an_error(
    coco_model: tuple[str, dict[str, Tensor]], key: str, value: int, name: str
) -> None:
    cfg = _cfg(**{**PANOPTIC, **FEW, key: value})
    cfg.MODEL.WEIGHTS = coco_model[0]
    with pytest.raises(UserError, match=f"{name} of the shape"):
        _load(cfg, replace_classifier=True)


def test_file_that_fits_nothing_is_an_error(tmp_path: Path) -> None:
    cfg = _cfg()
    cfg.MODEL.WEIGHTS = _save(tmp_path / "other.pth", {"a.weight": torch.ones(1)})
    with pytest.raises(UserError, match=r"fits no part .* it has a.weight, ...; the model has b"):
        _load(cfg)


def _folder_maker(path: Path) -> Any:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.mkdir, (path,)

    return Evil()


def test_file_with_code_is_refused_and_not_executed(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"model": _folder_maker(tmp_path / "made")}, path, pickle_module=pickle)
    with pytest.raises(UserError, match="reading it could run code"):
        read_weights(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pth", b"no checkpoint", "reading it could run code|is damaged"),
        ("a.safetensors", b"no checkpoint", "is damaged, or no safetensors file"),
    ],
)
def test_damaged_file_is_an_error(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_weights(tmp_path / name)


def test_file_without_weights_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no weights"):
        read_weights(_save(tmp_path / "a.pth", {"iteration": 3}))


def test_nested_weights_are_found(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.pth", {"state_dict": {"x": torch.ones(2)}, "epoch": 3})
    assert read_weights(path).keys() == {"x"}


def test_reading_needs_no_timm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    cfg = _cfg()
    weights = _resnet18()
    cfg.MODEL.WEIGHTS = _save(tmp_path / "resnet18.pth", weights)
    assert torch.equal(_load(cfg).backbone.stem.conv1.weight, weights["conv1.weight"])
