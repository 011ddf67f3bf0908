from __future__ import annotations

from typing import Any

import pytest
import torch
from golden import Golden, exception_name, reference_json, weight_rule
from torch import Tensor, nn

from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_proposal_generator, build_rpn_head
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.proposal_generator import RPN, StandardRPNHead
from detectron2.modeling.proposal_generator.proposal_utils import find_top_rpn_proposals
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage

SHAPES = {"res4": ShapeSpec(channels=4, stride=16)}


def recorded_rpn(golden: Golden, **changes: Any) -> RPN:
    head = StandardRPNHead(in_channels=6, num_anchors=3)
    weight_rule().fill(head, golden.params["seed"], golden.params["gains"])
    arguments = {
        "in_features": ["p3", "p4", "p5"],
        "head": head,
        "anchor_generator": DefaultAnchorGenerator(
            sizes=[[16], [32], [64]],
            aspect_ratios=[[0.5, 1.0, 2.0]],
            strides=[8, 16, 32],
            offset=0.0,
        ),
        "anchor_matcher": Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True),
        "box2box_transform": Box2BoxTransform((1, 1, 1, 1)),
        "batch_size_per_image": 100000,
        "positive_fraction": 0.5,
        "pre_nms_topk": (200, 100),
        "post_nms_topk": (60, 40),
        "nms_thresh": 0.7,
        "min_box_size": 2,
    }
    return RPN(**{**arguments, **changes})


def recorded_inputs(golden: Golden) -> tuple[ImageList, dict[str, Tensor], list[Instances]]:
    sizes = [tuple(size) for size in golden.params["sizes"]]
    images = ImageList(torch.zeros(2, 3, 96, 128), sizes)
    features = {name: golden.input(name) for name in ("p3", "p4", "p5")}
    gt = [Instances(size, gt_boxes=Boxes(golden.input(f"gt{i}"))) for i, size in enumerate(sizes)]
    return images, features, gt


def small_rpn(**rpn_keys: Any) -> RPN:
    """One level of stride 16 with three anchors of 32 pixels."""
    cfg = get_cfg()
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32]]
    for key, value in rpn_keys.items():
        cfg.MODEL.RPN[key] = value
    rpn = build_proposal_generator(cfg, SHAPES)
    assert isinstance(rpn, RPN)
    return rpn


def run_small(
    rpn: RPN, boxes: list[list[float]], height: int = 4, width: int = 4
) -> tuple[list[Instances], dict[str, Tensor]]:
    size = (16 * height, 16 * width)
    gt = Instances(size, gt_boxes=Boxes(torch.tensor(boxes).view(-1, 4)))
    images = ImageList(torch.zeros(1, 3, *size), [size])
    with EventStorage(0):
        return rpn(images, {"res4": torch.ones(1, 4, height, width)}, [gt])


@torch.no_grad()
def test_head_and_proposals_are_the_recorded_ones() -> None:
    golden = Golden("rpn")
    rpn = recorded_rpn(golden).eval()
    images, features, _ = recorded_inputs(golden)
    for level, (logits, deltas) in enumerate(
        zip(*rpn.rpn_head(list(features.values())), strict=True)
    ):
        golden.check(f"logits{level}", logits)
        golden.check(f"deltas{level}", deltas)
    proposals, losses = rpn(images, features)
    for index, result in enumerate(proposals):
        golden.check(f"boxes{index}", result.proposal_boxes.tensor)
        golden.check(f"scores{index}", result.objectness_logits)
    facts = golden.json("facts")
    assert losses == facts["eval_losses"]
    assert list(proposals[0].get_fields()) == facts["proposal_fields"]
    assert list(rpn.rpn_head.state_dict()) == facts["head_names"]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("l1", {}),
        ("beta", {"smooth_l1_beta": 0.5}),
        ("giou", {"box_reg_loss_type": "giou"}),
        ("diou", {"box_reg_loss_type": "diou"}),
        ("ciou", {"box_reg_loss_type": "ciou"}),
        ("weighted", {"loss_weight": {"loss_rpn_cls": 2.0, "loss_rpn_loc": 3.0}}),
        ("boundary", {"anchor_boundary_thresh": 0}),
    ],
)
def test_losses_are_the_recorded_ones(name: str, changes: dict[str, Any]) -> None:
    golden = Golden("rpn")
    rpn = recorded_rpn(golden, **changes)
    with EventStorage(0) as storage:
        proposals, losses = rpn(*recorded_inputs(golden))
    expected = golden.json("losses")[name]
    assert {k: v.item() for k, v in losses.items()} == pytest.approx(expected, rel=1e-4)
    assert len(proposals[0]) == golden.json("facts")["train_proposals"]
    boxes = proposals[0].proposal_boxes.tensor
    assert boxes.requires_grad == golden.json("facts")["requires_grad"]
    if name == "l1":
        latest = {key: value for key, (value, _) in storage.latest().items()}
        golden.check_json("storage", latest)


def test_labels_and_matches_are_the_recorded_ones() -> None:
    golden = Golden("rpn")
    rpn = recorded_rpn(golden)
    _, features, gt = recorded_inputs(golden)
    anchors = rpn.anchor_generator(list(features.values()))
    labels, matched = rpn.label_and_sample_anchors(anchors, gt)
    golden.check("labels", torch.stack(labels))
    golden.check("matched_pos0", matched[0][labels[0] == 1])
    assert str(labels[0].dtype) == golden.json("facts")["label_dtype"]


def test_training_without_ground_truth_is_refused_as_recorded() -> None:
    golden = Golden("rpn")
    rpn = recorded_rpn(golden)
    images, features, _ = recorded_inputs(golden)
    assert exception_name(lambda: rpn(images, features)) == golden.json("facts")["missing_gt"]


def test_proposals_are_those_of_decoding_all_anchors() -> None:
    golden = Golden("rpn")
    rpn = recorded_rpn(golden).eval()
    images, features, _ = recorded_inputs(golden)
    anchors = rpn.anchor_generator(list(features.values()))
    logits, deltas = rpn.rpn_head(list(features.values()))
    logits = [x.permute(0, 2, 3, 1).flatten(1) for x in logits]
    deltas = [x.unflatten(1, (3, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3) for x in deltas]
    boxes = [
        torch.stack([rpn.box2box_transform.apply_deltas(d, a.tensor) for d in level])
        for level, a in zip(deltas, anchors, strict=True)
    ]
    expected = find_top_rpn_proposals(boxes, logits, images.image_sizes, 0.7, 100, 40, 2.0, False)
    results = rpn.predict_proposals(anchors, logits, deltas, images.image_sizes)
    for have, want in zip(results, expected, strict=True):
        assert torch.equal(have.proposal_boxes.tensor, want.proposal_boxes.tensor)
        assert torch.equal(have.objectness_logits, want.objectness_logits)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_traced_rpn_takes_other_sizes() -> None:
    import torchvision  # noqa: F401 (its first import cannot be traced)

    rpn = recorded_rpn(Golden("rpn")).eval().requires_grad_(False)

    def propose(image: Tensor, p3: Tensor, p4: Tensor, p5: Tensor) -> tuple[Tensor, Tensor]:
        images = ImageList.from_tensors([image], 32)
        (result,), _ = rpn(images, {"p3": p3, "p4": p4, "p5": p5})
        return result.proposal_boxes.tensor, result.objectness_logits

    def inputs(height: int, width: int) -> tuple[Tensor, ...]:
        maps = (torch.randn(1, 6, height // s, width // s) for s in (8, 16, 32))
        return torch.zeros(3, height - 3, width - 7), *maps

    traced = torch.jit.trace(propose, inputs(96, 128), check_trace=False)
    for size in ((32, 32), (160, 96)):
        example = inputs(*size)
        for have, want in zip(traced(*example), propose(*example), strict=True):
            assert torch.equal(have, want)


def test_parameters_are_those_of_the_published_models() -> None:
    recorded = reference_json("state_dicts.json")["COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x"]
    cfg = get_cfg()
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32], [64], [128], [256], [512]]
    cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    shapes = {f"p{i}": ShapeSpec(channels=256, stride=2**i) for i in range(2, 7)}
    model = nn.ModuleDict({"proposal_generator": build_proposal_generator(cfg, shapes)})
    entries = {name: list(value.shape) for name, value in model.state_dict().items()}
    expected = recorded["entries"].items()
    assert entries == {k: v[0] for k, v in expected if k.startswith("proposal_generator.")}
    buffers = {name: list(value.shape) for name, value in model.named_buffers()}
    expected = recorded["non_persistent_buffers"].items()
    assert buffers == {k: v for k, v in expected if k.startswith("proposal_generator.")}


@pytest.mark.parametrize("loss_type", ["smooth_l1", "giou", "diou", "ciou"])
def test_without_ground_truth_all_anchors_are_negative(loss_type: str) -> None:
    rpn = small_rpn(BBOX_REG_LOSS_TYPE=loss_type)
    _, losses = run_small(rpn, [])
    sum(losses.values()).backward()
    assert losses["loss_rpn_loc"].item() == 0
    # 48 negatives of 256 that would be drawn, each of about ln 2, because logits are about 0.
    assert losses["loss_rpn_cls"].item() == pytest.approx(0.693 * 48 / 256, rel=0.05)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in rpn.parameters())


def test_a_map_of_one_pixel_proposes() -> None:
    proposals, losses = run_small(small_rpn(), [[0, 0, 16, 16]], height=1, width=1)
    assert 1 <= len(proposals[0]) <= 3
    assert all(loss.isfinite() for loss in losses.values())


def test_the_number_of_drawn_anchors_is_limited() -> None:
    rpn = small_rpn(BATCH_SIZE_PER_IMAGE=8, POSITIVE_FRACTION=0.25)
    anchors = rpn.anchor_generator([torch.zeros(1, 4, 4, 4)])
    gt = Instances((64, 64), gt_boxes=Boxes(anchors[0].tensor[20:26]))
    (labels,), _ = rpn.label_and_sample_anchors(anchors, [gt])
    assert [int((labels == value).sum()) for value in (1, 0, -1)] == [2, 6, 40]


def test_diverged_training_is_reported() -> None:
    rpn = small_rpn()
    nn.init.constant_(rpn.rpn_head.anchor_deltas.bias, float("nan"))
    with pytest.raises(FloatingPointError, match="diverged"):
        run_small(rpn, [])
    assert len(run_small(rpn.eval(), [])[0][0]) == 0


def test_one_weight_holds_for_both_losses() -> None:
    golden = Golden("rpn")
    assert recorded_rpn(golden, loss_weight=2).loss_weight == {
        "loss_rpn_cls": 2,
        "loss_rpn_loc": 2,
    }


def test_config_weights_multiply() -> None:
    rpn = small_rpn(LOSS_WEIGHT=2.0, BBOX_REG_LOSS_WEIGHT=3.0)
    assert rpn.loss_weight == {"loss_rpn_cls": 2, "loss_rpn_loc": 6}


@pytest.mark.parametrize(
    ("dims", "names"),
    [
        ([-1], ["conv"]),
        ([8], ["conv"]),
        ([8, -1], ["conv.conv0", "conv.conv1"]),
    ],
)
def test_head_convolutions(dims: list[int], names: list[str]) -> None:
    head = StandardRPNHead(in_channels=4, num_anchors=3, conv_dims=dims)
    weights = [name.removesuffix(".weight") for name in head.state_dict() if "weight" in name]
    assert weights == [*names, "objectness_logits", "anchor_deltas"]
    logits, deltas = head([torch.zeros(2, 4, 5, 6)])
    assert (logits[0].shape, deltas[0].shape) == ((2, 3, 5, 6), (2, 12, 5, 6))
    assert head.anchor_deltas.in_channels == (4 if dims == [-1] else 8)


def test_head_channels_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"CONV_DIMS = \[8, 0\]"):
        StandardRPNHead(in_channels=4, num_anchors=3, conv_dims=[8, 0])


def test_levels_of_one_head_must_agree() -> None:
    cfg = get_cfg()
    with pytest.raises(ValueError, match=r"equal channels, not \[4, 5\]"):
        build_rpn_head(cfg, [ShapeSpec(channels=4, stride=4), ShapeSpec(channels=5, stride=8)])
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32], [32, 64]]
    with pytest.raises(ValueError, match=r"anchors per position, not \[3, 6\]"):
        build_rpn_head(cfg, [ShapeSpec(channels=4, stride=4), ShapeSpec(channels=4, stride=8)])


def test_unknown_input_features_are_answered_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"RPN.IN_FEATURES names \['p9'\].*\['res4'\]"):
        small_rpn(IN_FEATURES=["p9", "res4"])


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"HEAD_NAME = 'Other'.*StandardRPNHead"):
        small_rpn(HEAD_NAME="Other")
    cfg = get_cfg()
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "Other"
    with pytest.raises(KeyError, match=r"PROPOSAL_GENERATOR.NAME = 'Other'.*RPN"):
        build_proposal_generator(cfg, SHAPES)


def test_precomputed_proposals_need_no_generator() -> None:
    cfg = get_cfg()
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "PrecomputedProposals"
    assert build_proposal_generator(cfg, SHAPES) is None
