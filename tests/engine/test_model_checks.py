"""A wrong config fails when its model is built, with names and numbers."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_configs import shrink, unet_config
from tiny_runs import REPOSITORY
from torch import nn

from detectron2.modeling import META_ARCH_REGISTRY
from seg_projects.architectures import is_kind
from seg_projects.deeplab_config import needs_joint_classes
from seg_projects.engine import SegTrainer, load_config
from seg_projects.engine.model_checks import check_inference
from seg_projects.engine.prediction import prediction_kind
from seg_projects.errors import UserError
from seg_projects.modeling import SegPanopticDeepLab, SegSemanticSegmentor


def _build(config: str, keys: dict[str, Any]) -> nn.Module:
    cfg = load_config(REPOSITORY / "configs" / f"{config}.yaml")
    shrink(cfg)
    # So that an override is as large as it says.
    cfg.merge_from_list([part for item in keys.items() for part in item])
    return SegTrainer.build_model(cfg)


FPN = "overfit/panoptic_fpn_coco"


@pytest.mark.parametrize(
    ("config", "keys", "message"),
    [
        (
            "voc/fcn",
            {"MODEL.SEM_SEG_HEAD.IN_FEATURES": ["res3", "p2"]},
            r"'p2'; the backbone gives res2 \(stride 4\), res3 \(stride 8\), res4",
        ),
        (
            FPN,
            {"MODEL.SEM_SEG_HEAD.IN_FEATURES": ["p2", "res3"]},
            r"SEM_SEG_HEAD.IN_FEATURES has 'res3', but the backbone gives p2 \(stride 4\), p3",
        ),
        (
            FPN,
            {"MODEL.RPN.IN_FEATURES": ["p2", "p9"]},
            r"MODEL.RPN.IN_FEATURES has 'p9', but the backbone gives p2 \(stride 4\)",
        ),
        (
            FPN,
            {"MODEL.ROI_HEADS.IN_FEATURES": ["p1"]},
            r"MODEL.ROI_HEADS.IN_FEATURES has 'p1', but the backbone gives p2 \(stride 4\)",
        ),
        (
            FPN,
            {"MODEL.FPN.IN_FEATURES": ["res2", "res6"]},
            "FPN.IN_FEATURES has 'res6', but MODEL.RESNETS.OUT_FEATURES has res2, res3, res4, res5",
        ),
        (
            "voc/deeplabv3plus",
            {"MODEL.SEM_SEG_HEAD.IN_FEATURES": ["res2", "res4"]},
            r"'res4'; the backbone gives res2 \(stride 4\), res5 \(stride 16\)",
        ),
        (
            "overfit/panoptic_deeplab_coco",
            {"MODEL.INS_EMBED_HEAD.IN_FEATURES": ["res2", "res3", "res9"]},
            r"INS_EMBED_HEAD.IN_FEATURES has 'res9'; the backbone gives res2 \(stride 4\), res3",
        ),
        (
            "voc/fcn",
            {"INPUT.MIN_SIZE_TEST": 31},
            "MIN_SIZE_TEST has 31 pixels, smaller than 32, the stride of the backbone's map res5",
        ),
        ("voc/fcn", {"INPUT.MIN_SIZE_TRAIN": (64, 16)}, "MIN_SIZE_TRAIN has 16 pixels"),
        ("membrane/fcn", {"INPUT.CROP.SIZE": [64, 24]}, "INPUT.CROP.SIZE has 24 pixels"),
        (
            "voc/fcn",
            {"TEST.AUG.ENABLED": True, "TEST.AUG.MIN_SIZES": (64, 8)},
            "TEST.AUG.MIN_SIZES has 8 pixels",
        ),
        ("membrane/unet", {"MODEL.SLIDING_WINDOW.SIZE": [64, 8]}, r"\[64, 8\], smaller than 16"),
        ("membrane/unet", {"MODEL.SLIDING_WINDOW.OVERLAP": 1.0}, "OVERLAP is 1.0; it is a share"),
        (
            "voc/fcn",
            {"MODEL.SEM_SEG_HEAD.LOSSES": [["focl", 1.0]]},
            "unknown loss 'focl'.*Did you mean focal?",
        ),
        (
            "voc/fcn",
            {"MODEL.RESNETS.NORM": "SynchBN"},
            "MODEL.RESNETS.NORM is 'SynchBN'; known: BN, .*Did you mean SyncBN?",
        ),
        ("voc/fcn", {"MODEL.SEM_SEG_HEAD.NAME": "FNCHead"}, "Did you mean FCNHead?"),
        ("voc/fcn", {"MODEL.BACKBONE.NAME": "build_resnet"}, "BACKBONE.NAME is 'build_resnet'"),
        ("own/mask_rcnn", {"MODEL.ROI_HEADS.NAME": "StandardROIHead"}, "mean StandardROIHeads?"),
        ("own/mask_rcnn", {"MODEL.META_ARCHITECTURE": "MaskRCNN"}, "'MaskRCNN', which is not"),
        (
            FPN,
            {"MODEL.SEM_SEG_HEAD.AUXILIARY": [["p3", 0.4]]},
            "META_ARCHITECTURE SegPanopticFPN has no auxiliary losses",
        ),
        (
            FPN,
            {"MODEL.SEM_SEG_HEAD.LOSSES": [["focal", 1.0]]},
            "SemSegFPNHead has a loss of its own: SegFPNHead takes them",
        ),
        ("voc/fcn", {"MODEL.SEM_SEG_HEAD.NUM_CLASSES": 1}, "is 1, of which cross_entropy has noth"),
        (
            "voc/fcn",
            {"MODEL.PANOPTIC_FPN.LEARN_BALANCE": True},
            "LEARN_BALANCE is True, but MODEL.META_ARCHITECTURE SegSemanticSegmentor balances no",
        ),
    ],
)
def test_wrong_config_is_named(config: str, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _build(config, keys)


def test_images_in_their_own_size_are_not_checked() -> None:
    model = _build("voc/fcn", {"INPUT.MIN_SIZE_TEST": 0, "INPUT.MIN_SIZE_TRAIN": (0,)})
    assert isinstance(model, SegSemanticSegmentor)


def test_extensions_of_known_models_are_of_their_kind() -> None:
    class Own(SegPanopticDeepLab):
        pass

    cfg = unet_config()
    cfg.MODEL.META_ARCHITECTURE = "Own"
    assert not is_kind(cfg, "Panoptic")
    META_ARCH_REGISTRY.register(Own)
    assert is_kind(cfg, "Panoptic")
    assert not is_kind(cfg, "RCNN")
    assert needs_joint_classes(cfg)
    assert prediction_kind(cfg) == "panoptic"
    cfg.MODEL.SLIDING_WINDOW.SIZE = [64, 64]
    with pytest.raises(UserError, match="META_ARCHITECTURE Own sees whole images"):
        check_inference(cfg)
