"""Our configs of published models have the published values, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from golden import reference_json
from tiny_runs import REPOSITORY

from detectron2.config import CfgNode, get_cfg
from seg_projects.config import add_seg_projects_config
from seg_projects.engine import load_config

DEEPLAB = "projects/DeepLab/configs/Cityscapes-SemanticSegmentation"
PANOPTIC_DEEPLAB = "projects/Panoptic-DeepLab/configs"
CITYSCAPES = f"{PANOPTIC_DEEPLAB}/Cityscapes-PanopticSegmentation/panoptic_deeplab_R_52_os16"
COCO = f"{PANOPTIC_DEEPLAB}/COCO-PanopticSegmentation/panoptic_deeplab_R_52_os16"
PUBLISHED = {
    "cityscapes/deeplabv3_r103": f"{DEEPLAB}/deeplab_v3_R_103_os16_mg124_poly_90k_bs16",
    "cityscapes/deeplabv3plus_r103": f"{DEEPLAB}/deeplab_v3_plus_R_103_os16_mg124_poly_90k_bs16",
    "cityscapes/panoptic_deeplab_r52": f"{CITYSCAPES}_mg124_poly_90k_bs32_crop_512_1024",
    "cityscapes/panoptic_deeplab_r52_dsconv": (
        f"{CITYSCAPES}_mg124_poly_90k_bs32_crop_512_1024_dsconv"
    ),
    "coco/panoptic_deeplab_r52_dsconv": f"{COCO}_mg124_poly_200k_bs64_crop_640_640_coco_dsconv",
    "coco/panoptic_fpn_r50_1x": "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x",
    "coco/panoptic_fpn_r50_3x": "COCO-PanopticSegmentation/panoptic_fpn_R_50_3x",
    "coco/panoptic_fpn_r101_3x": "COCO-PanopticSegmentation/panoptic_fpn_R_101_3x",
    "coco/panoptic_fpn_r101_dconv_cascade_gn_3x": "Misc/panoptic_fpn_R_101_dconv_cascade_gn_3x",
}
OUR_NAMES = {
    "SemanticSegmentor": "SegSemanticSegmentor",
    "PanopticDeepLab": "SegPanopticDeepLab",
    "PanopticFPN": "SegPanopticFPN",
}


def _leaves(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("name", PUBLISHED)
def test_values_are_the_published_ones(name: str) -> None:
    published = reference_json("model_configs.json")[PUBLISHED[name]]["differs_from_default"]
    # Left over from the file that Detectron2's DeepLab starts from; nothing there reads them.
    unread = ("MODEL.ROI_", "MODEL.RPN.") if "deeplab" in name else ()
    defaults = get_cfg()
    add_seg_projects_config(defaults)
    expected = dict(_leaves(defaults)) | {
        key: value for key, value in published.items() if not key.startswith(unread)
    }
    expected["MODEL.META_ARCHITECTURE"] = OUR_NAMES[expected["MODEL.META_ARCHITECTURE"]]
    cfg = load_config(REPOSITORY / "configs" / f"{name}.yaml")
    found = dict(_leaves(cfg))
    for machine in ("OUTPUT_DIR", "MODEL.DEVICE"):
        expected[machine] = found[machine]
    if expected["SOLVER.LR_SCHEDULER_NAME"] == "WarmupPolyLR":
        expected["SOLVER.STEPS"] = found["SOLVER.STEPS"]  # of another schedule
    assert found == expected
