"""A seed gives a model the initial weights that it has in Detectron2."""

from typing import Any

import pytest
import torch

from detectron2 import model_zoo
from detectron2.modeling import build_model

MASK_RCNN = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"
SMALL = ["MODEL.FPN.OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.FC_DIM", 16]
RESNET_18 = ["MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64]
DEFORMABLE = ["MODEL.RESNETS.DEFORM_MODULATED", True]


# Recorded with Detectron2: sum and sum of magnitudes of all entries of the state dict, and the next
# three random numbers, which tell that as many were drawn.
@pytest.mark.parametrize(
    ("config", "options", "total", "magnitude", "following"),
    [
        (
            MASK_RCNN,
            [*SMALL, *RESNET_18, "MODEL.RPN.CONV_DIMS", [16, 24]],
            9469.82957189162,
            282963.00334184495,
            [0.539412, 0.54006, 0.154455],
        ),
        (
            "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.yaml",
            [],
            52732.47458112213,
            872283.1432609435,
            [0.183875, 0.28727, 0.839072],
        ),
        (
            "Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml",
            SMALL,
            52855.49016457934,
            823747.9755950851,
            [0.765322, 0.301213, 0.085768],
        ),
        (
            "Misc/mask_rcnn_R_50_FPN_1x_dconv_c3-c5.yaml",
            [*SMALL, *DEFORMABLE],
            53220.258237518254,
            822878.108683565,
            [0.977575, 0.540365, 0.299669],
        ),
        (
            "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml",
            [*SMALL, "MODEL.SEM_SEG_HEAD.CONVS_DIM", 32],
            53059.70702128141,
            826385.991026636,
            [0.571929, 0.859497, 0.626248],
        ),
    ],
)
def test_initial_weights_are_those_of_detectron2(
    config: str, options: list[Any], total: float, magnitude: float, following: list[float]
) -> None:
    cfg = model_zoo.get_config(config)
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", *options])
    torch.manual_seed(3)
    model = build_model(cfg)
    assert torch.rand(3).tolist() == pytest.approx(following, abs=1e-5)
    entries = [entry.double() for entry in model.state_dict().values()]
    assert sum(e.abs().sum().item() for e in entries) == pytest.approx(magnitude, rel=1e-7)
    assert sum(e.sum().item() for e in entries) == pytest.approx(total, rel=1e-6)
