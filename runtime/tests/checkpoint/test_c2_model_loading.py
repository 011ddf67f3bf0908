from __future__ import annotations

import logging

import pytest
import torch
from golden import Golden

from detectron2.checkpoint.c2_model_loading import (
    align_and_update_state_dicts,
    convert_basic_c2_names,
    convert_c2_detectron_names,
)
from detectron2.checkpoint.catalog import ModelCatalog
from detectron2.checkpoint.torchvision_names import (
    convert_torchvision_resnet_names,
    is_torchvision_resnet,
)
from detectron2.utils.file_io import PathManager


def zeros(**shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    return {name.replace("__", "."): torch.zeros(shape) for name, shape in shapes.items()}


def test_detectron_names_and_shapes() -> None:
    golden = Golden("checkpoint_matching")
    shapes = {"cls_score_w": (8, 3), "bbox_pred_w": (8, 3), "bbox_pred_b": (8,)}
    shapes["rpn_bbox_pred_fpn2_b"] = (8,)
    weights = {name: torch.zeros(shapes.get(name, (4, 4, 1, 1))) for name in golden.params["c2"]}
    converted, old_names = convert_c2_detectron_names(weights)
    golden.check_json("c2", old_names)
    golden.check_json("c2_shapes", {name: list(w.shape) for name, w in converted.items()})


def test_background_class_moves_to_the_end() -> None:
    weights = {
        "cls_score_b": torch.arange(3.0),
        "bbox_pred_b": torch.arange(12.0),
        "mask_fcn_logits_b": torch.arange(3.0),
        "rpn_bbox_pred_b": torch.arange(8.0),
    }
    converted, _ = convert_c2_detectron_names(weights)
    assert converted["cls_score.bias"].tolist() == [1, 2, 0]
    assert converted["bbox_pred.bias"].tolist() == [4, 5, 6, 7, 8, 9, 10, 11]
    assert converted["mask_head.predictor.bias"].tolist() == [1, 2]
    # Anchors have no class.
    assert len(converted["proposal_generator.rpn_head.anchor_deltas.bias"]) == 8


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("res3_11_branch2a_bn_rm", "res3.11.conv1.norm.running_mean"),
        ("res3_11_branch2b_bn_riv", "res3.11.conv2.norm.running_var"),
        ("conv1_gn_s", "stem.conv1.norm.weight"),
        ("res_conv1_bn_b", "stem.conv1.norm.bias"),
        ("res2_0_branch1_gn_b", "res2.0.shortcut.norm.bias"),
        ("pred_b", "linear.bias"),
        ("fc1000_w", "fc1000.weight"),
        ("bn_conv1_s", "bn.conv1.s"),
    ],
)
def test_caffe2_names(old: str, new: str) -> None:
    assert convert_basic_c2_names([old]) == [new]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("fpn_inner_res4_22_sum_lateral_b", "fpn_lateral4.bias"),
        ("fpn_inner_res5_2_sum_gn_s", "fpn_lateral5.norm.weight"),
        ("fpn_res3_3_sum_gn_b", "fpn_output3.norm.bias"),
        ("conv_rpn_w", "proposal_generator.rpn_head.conv.weight"),
        ("head_conv4_gn_s", "box_head.conv4.norm.weight"),
        ("_[mask]_fcn2_gn_s", "mask_head.mask_fcn2.norm.weight"),
        ("retnet_bbox_pred_fpn3_b", "retnet.bbox.pred.fpn3.bias"),
    ],
)
def test_detectron_names(old: str, new: str) -> None:
    assert list(convert_c2_detectron_names({old: torch.zeros(1)})[0]) == [new]


def test_two_weights_of_one_name_are_refused() -> None:
    weights = {"conv_rpn_w": torch.zeros(1), "conv_rpn_fpn2_w": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"'conv_rpn_fpn2_w' and 'conv_rpn_w'"):
        convert_c2_detectron_names(weights)


def align(
    model: dict[str, torch.Tensor], checkpoint: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    return align_and_update_state_dicts(model, checkpoint, c2_conversion=False)


def test_weights_match_by_the_end_of_a_name() -> None:
    aligned = align(zeros(b__x__weight=(2,), c__weight=(3,)), zeros(x__weight=(2,), q=(1,)))
    assert {name: tuple(w.shape) for name, w in aligned.items()} == {
        "b.x.weight": (2,),
        "q": (1,),
    }


def test_ends_match_at_a_dot_only() -> None:
    assert list(align(zeros(b__xx__weight=(2,)), zeros(x__weight=(2,)))) == ["x.weight"]


def test_the_longest_end_wins() -> None:
    weights = {"weight": torch.zeros(2), "x.weight": torch.ones(2)}
    aligned = align(zeros(b__x__weight=(2,)), weights)
    assert aligned["b.x.weight"].tolist() == [1, 1]
    assert "weight" in aligned


def test_a_full_name_is_better_than_an_end() -> None:
    weights = {"x.weight": torch.zeros(2), "c.x.weight": torch.ones(2)}
    aligned = align(zeros(b__x__weight=(2,), c__x__weight=(2,)), weights)
    assert aligned["c.x.weight"].tolist() == [1, 1]


def test_one_weight_for_two_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'x.weight' fits 'b.x.weight' and 'c.x.weight'"):
        align(zeros(b__x__weight=(2,), c__x__weight=(2,)), zeros(x__weight=(2,)))


def test_other_shapes_stay_unmatched(caplog: pytest.LogCaptureFixture) -> None:
    assert list(align(zeros(b__x__weight=(2,)), zeros(x__weight=(3,)))) == ["x.weight"]
    assert "(3,) in the checkpoint, but (2,) (b.x.weight)" in caplog.text


def test_nothing_to_match() -> None:
    assert align(zeros(x=(1,)), {}) == {}
    assert align({}, {}) == {}


def test_tables_of_names_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    model = zeros(b__stem__conv1__weight=(2,), b__stem__conv1__bias=(2,))
    align_and_update_state_dicts(model, zeros(conv1_w=(2,), conv1_b=(2,), other=(1, 3)))
    assert "| b.stem.conv1.{bias,weight} | conv1_{b,w} " in caplog.text
    assert "| other " in caplog.text
    assert "| (1,3) " in caplog.text


def test_names_of_a_torchvision_resnet() -> None:
    names = {
        "conv1.weight": "stem.conv1.weight",
        "bn1.running_var": "stem.conv1.norm.running_var",
        "layer1.0.conv1.weight": "res2.0.conv1.weight",
        "layer1.0.bn3.bias": "res2.0.conv3.norm.bias",
        "layer2.0.downsample.0.weight": "res3.0.shortcut.weight",
        "layer4.0.downsample.1.weight": "res5.0.shortcut.norm.weight",
        "layer4.0.conv1.weight": "res5.0.conv1.weight",
        "fc.bias": "linear.bias",
    }
    weights = {name: torch.zeros(1) for name in names}
    assert is_torchvision_resnet(weights)
    converted = convert_torchvision_resnet_names(
        {**weights, "bn1.num_batches_tracked": torch.tensor(3)}
    )
    assert list(converted) == list(names.values())


def test_other_names_are_not_torchvisions() -> None:
    assert not is_torchvision_resnet(["conv1.weight", "res2.0.conv1.weight"])


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("ImageNetPretrained/MSRA/R-50", "detectron/ImageNetPretrained/MSRA/R-50.pkl"),
        (
            "Caffe2Detectron/COCO/35998355/rpn_R-50-C4_1x",
            "/coco_2014_train%3Acoco_2014_valminusminival/rpn/model_final.pkl",
        ),
        (
            "Caffe2Detectron/COCO/37697547/e2e_keypoint_rcnn_R-50-FPN_1x",
            "valminusminival/generalized_rcnn/model_final.pkl",
        ),
    ],
)
def test_catalog_addresses(name: str, end: str) -> None:
    address = ModelCatalog.get(name)
    assert address.startswith("https://dl.fbaipublicfiles.com/detectron/")
    assert address.endswith(end)


def test_unknown_names_are_not_in_the_catalog() -> None:
    with pytest.raises(RuntimeError, match=r"'ImageNetPretrained/R-7'.*MSRA/R-50"):
        PathManager.get_local_path("catalog://ImageNetPretrained/R-7")
