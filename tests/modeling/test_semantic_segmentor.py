"""The semantic meta-architecture beside Detectron2's own; windows, looks, wrong configs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tiny_configs import unet_config
from torch import nn

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from seg_projects.errors import UserError


def _build(cfg: CfgNode) -> nn.Module:
    torch.manual_seed(0)
    model = build_model(cfg)
    # So that classes differ: the predictor starts near zero.
    nn.init.normal_(model.sem_seg_head.predictor.weight)
    return model


def _input(height: int, width: int) -> dict[str, Any]:
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    return {"image": image, "height": 2 * height, "width": width + 3}


@torch.no_grad()
def test_results_and_parameters_are_those_of_semantic_segmentor() -> None:
    ours = _build(unet_config()).eval()
    theirs = _build(unet_config(**{"MODEL.META_ARCHITECTURE": "SemanticSegmentor"})).eval()
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    batch = [_input(21, 33), _input(16, 40)]
    for got, wanted in zip(ours(batch), theirs(batch), strict=True):
        assert torch.equal(got["sem_seg"], wanted["sem_seg"])


def test_losses_are_those_of_semantic_segmentor() -> None:
    ours, theirs = (
        _build(unet_config()),
        _build(unet_config(**{"MODEL.META_ARCHITECTURE": "SemanticSegmentor"})),
    )
    batch = [_input(21, 33), _input(17, 40)]
    for one in batch:
        one["sem_seg"] = torch.randint(0, 3, one["image"].shape[1:])
    got, wanted = ours.train()(batch), theirs.train()(batch)
    assert got.keys() == wanted.keys()
    torch.testing.assert_close(got, wanted)


def test_trains_on_images_of_several_odd_sizes() -> None:
    model = _build(unet_config()).train()
    batch = [_input(21, 33), _input(17, 40)]
    for one in batch:
        one["sem_seg"] = torch.randint(0, 3, one["image"].shape[1:])
    losses = model(batch)
    assert losses.keys() == {"loss_sem_seg_cross_entropy"}
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("size", [(21, 33), (40, 16)])
@torch.no_grad()
def test_window_larger_than_the_image_sees_it_whole(size: tuple[int, int]) -> None:
    image = _input(*size)
    whole = _build(unet_config()).eval()([image])[0]["sem_seg"]
    windowed = _build(unet_config(**{"MODEL.SLIDING_WINDOW.SIZE": [64, 64]})).eval()([image])[0][
        "sem_seg"
    ]
    torch.testing.assert_close(windowed, whole)
    assert whole.shape == (3, 2 * size[0], size[1] + 3)


@torch.no_grad()
def test_far_from_borders_windows_agree_with_the_whole_image() -> None:
    cfg = unet_config(
        **{"MODEL.SLIDING_WINDOW.SIZE": [64, 64], "MODEL.SLIDING_WINDOW.OVERLAP": 0.5}
    )
    image = {"image": _input(64, 128)["image"]}
    windowed = _build(cfg).eval()([image])[0]["sem_seg"]
    whole = _build(unet_config()).eval()([image])[0]["sem_seg"]
    # The leftmost columns are in the first window alone, and far from its right edge.
    torch.testing.assert_close(windowed[..., :28], whole[..., :28], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(windowed, whole, atol=1e-4)


@torch.no_grad()
def test_augmentation_averages_sizes_and_mirror_images() -> None:
    keys = {"TEST.AUG.ENABLED": True, "TEST.AUG.MIN_SIZES": (16, 24), "TEST.AUG.FLIP": True}
    model, image = _build(unet_config(**keys)).eval(), {"image": _input(16, 32)["image"]}
    got = model([image])[0]["sem_seg"]
    assert got.shape == (3, 16, 32)
    # A mirrored image has the mirrored scores.
    mirrored = model([{"image": image["image"].flip(-1)}])[0]["sem_seg"]
    torch.testing.assert_close(mirrored.flip(-1), got, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(_build(unet_config()).eval()([image])[0]["sem_seg"], got, atol=1e-4)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"MODEL.SLIDING_WINDOW.SIZE": [64]}, r"SIZE is \[64\]; it is \[height, width\]"),
        ({"MODEL.SLIDING_WINDOW.SIZE": [64, 2]}, r"\[64, 2\], smaller than 4"),
        (
            {"MODEL.SLIDING_WINDOW.SIZE": [64, 64], "MODEL.SLIDING_WINDOW.OVERLAP": 1.0},
            "OVERLAP is 1.0",
        ),
        (
            {"MODEL.SLIDING_WINDOW.SIZE": [64, 64], "MODEL.SLIDING_WINDOW.BATCH_SIZE": 0},
            "BATCH_SIZE is 0",
        ),
        ({"MODEL.SEM_SEG_HEAD.IN_FEATURES": ["down0", "p2"]}, r"'p2'; the backbone gives down0"),
    ],
)
def test_wrong_config_is_refused_when_the_model_is_built(
    keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        build_model(unet_config(**keys))


def _supervised(head: str, entries: list[Any], **keys: Any) -> nn.Module:
    names = ["down2"] if head == "SegDeepLabV3Head" else ["down0", "down1", "down2"]
    node = "MODEL.SEM_SEG_HEAD"
    chosen = {
        f"{node}.NAME": head,
        f"{node}.IN_FEATURES": names,
        f"{node}.ASPP_CHANNELS": 128,
        f"{node}.COMMON_STRIDE": 4,
        f"{node}.AUXILIARY": entries,
    }
    torch.manual_seed(0)
    return build_model(unet_config(**chosen, **keys))


@pytest.mark.parametrize("head", ["UNetHead", "FCNHead", "SegDeepLabV3Head"])
def test_auxiliary_maps_have_losses_of_their_own_beside_any_head(head: str) -> None:
    batch = [_input(21, 33), _input(17, 40)]
    for one in batch:
        one["sem_seg"] = torch.randint(0, 3, one["image"].shape[1:])
    losses = []
    for weight in (1.0, 0.5):
        model = _supervised(head, [["down1", weight]], **{"MODEL.SEM_SEG_HEAD.LOSS_WEIGHT": 2.0})
        classifier = model.auxiliary.classifiers["down1"]
        nn.init.ones_(classifier.weight)
        nn.init.zeros_(classifier.bias)
        losses.append(model.train()(batch))
    main, key = "loss_sem_seg_cross_entropy", "loss_sem_seg_cross_entropy_down1"
    assert losses[0].keys() == {main, key}
    torch.testing.assert_close(losses[0][main], losses[1][main])
    torch.testing.assert_close(losses[1][key], 0.5 * losses[0][key])
    # Equal scores of three classes, and twice the loss.
    assert losses[0][key].item() == pytest.approx(2 * math.log(3), rel=1e-4)
    losses[1][key].backward()
    assert classifier.bias.grad.any()
    assert model.backbone.levels[0][0].weight.grad is not None


@torch.no_grad()
def test_auxiliary_maps_change_nothing_in_inference() -> None:
    plain, helped = _supervised("UNetHead", []), _supervised("UNetHead", [["down2", 1]])
    assert not [name for name in plain.state_dict() if "auxiliary" in name]
    helped.load_state_dict(plain.state_dict(), strict=False)
    batch = [_input(21, 33)]
    wanted = plain.eval()(batch)[0]["sem_seg"]
    torch.testing.assert_close(helped.eval()(batch)[0]["sem_seg"], wanted)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([["res9", 1.0]], r"AUXILIARY has 'res9'; the backbone gives down0 \(stride 1\), down1"),
        (["down1"], "AUXILIARY has 'down1': an entry is"),
        ([["down1", 0]], "weight of down1 is 0"),
        ([["down1", 1], ["down1", 2]], "'down1' more than once"),
    ],
)
def test_wrong_auxiliary_entry_is_refused(entries: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _supervised("FCNHead", entries)


@pytest.mark.parametrize(
    ("head", "size"), [("UNetHead", (21, 33)), ("UNetHead", (24, 36)), ("SegFPNHead", (24, 36))]
)
@pytest.mark.parametrize("longer", [0, 17])
@pytest.mark.parametrize("keys", [{}, {"MODEL.SLIDING_WINDOW.SIZE": [16, 16]}], ids=["", "window"])
@torch.no_grad()
def test_labels_are_the_argmax_of_the_scores(
    head: str, size: tuple[int, int], longer: int, keys: dict[str, Any]
) -> None:
    # Maps of stride 2 and more: the labels are those of upsampled scores.
    names = {"MODEL.SEM_SEG_HEAD.NAME": head, "MODEL.SEM_SEG_HEAD.CONVS_DIM": 32}
    cfg = unet_config(**names, **keys)
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["down1", "down2"]
    cfg.MODEL.SEM_SEG_HEAD.COMMON_STRIDE = 2
    model = _build(cfg).eval()
    wanted = (size[0] + longer, size[1] + longer)
    inputs = _input(*size) | {"height": wanted[0], "width": wanted[1]}
    scores = model([inputs])[0]["sem_seg"]
    labels = model.predict_labels(inputs)
    assert labels.shape == wanted
    chosen = scores.gather(0, labels.long()[None])[0]
    torch.testing.assert_close(chosen, scores.amax(dim=0), atol=1e-5, rtol=1e-5)
    assert len(labels.unique()) > 1


@pytest.mark.parametrize("shape", ["coarse", "classes"])
def test_logits_of_another_shape_than_promised_are_named(shape: str) -> None:
    model = _build(unet_config()).train()
    logits = torch.zeros(1, 3, 8, 8) if shape == "coarse" else torch.zeros(1, 2, 16, 16)
    model.sem_seg_head.layers = lambda features: logits
    batch = [_input(16, 16) | {"sem_seg": torch.zeros(16, 16, dtype=torch.long)}]
    with pytest.raises(
        UserError, match=r"UNetHead gives logits of \(.*for labels of \(3, 16, 16\)"
    ):
        model(batch)
