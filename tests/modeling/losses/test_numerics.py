"""Gradients, half precision and one class: the same for all losses."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from seg_projects.modeling.losses import LOSSES, cross_entropy_loss

IGNORED = 255
WEIGHTED = [name for name in LOSSES if not name.startswith("sigmoid")]


def _scores(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def _precision(name: str) -> dict[str, float]:
    # fvcore's focal loss is float32 inside: larger steps, coarser differences.
    return {"eps": 1e-2, "atol": 1e-4, "rtol": 0.05} if name == "sigmoid_focal" else {}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_the_differences_of_the_loss(name: str) -> None:
    target = torch.randint(0, 3, (2, 4, 5))
    target[0, 0] = IGNORED
    loss = partial(LOSSES[name], target=target, ignore_value=IGNORED)
    assert gradcheck(loss, (_scores(2, 3, 4, 5),), **_precision(name))


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in WEIGHTED])
def test_gradients_of_several_classes_per_pixel(name: str) -> None:
    target = torch.randint(0, 2, (2, 3, 4, 5))
    target[0, 0, :2] = IGNORED
    loss = partial(LOSSES[name], target=target, ignore_value=IGNORED)
    assert gradcheck(loss, (_scores(2, 3, 4, 5),), **_precision(name))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_sums_do_not_overflow(name: str, dtype: torch.dtype) -> None:
    # 131072 pixels, each wrong by more than 1: their sum is beyond float16's 65504.
    logits, target = torch.zeros(2, 3, 256, 256), torch.randint(0, 3, (2, 256, 256))
    logits[:, 0] = 4
    exact = LOSSES[name](logits, target, ignore_value=IGNORED)
    half = logits.to(dtype).requires_grad_()
    loss = LOSSES[name](half, target, ignore_value=IGNORED)
    torch.testing.assert_close(loss.float(), exact, rtol=0.01, atol=0.01)
    loss.backward()
    assert half.grad is not None
    assert half.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_one_class_has_a_finite_loss(name: str) -> None:
    target = torch.zeros(1, 4, 4, dtype=torch.long)
    target[0, 0] = IGNORED
    scores = _scores(1, 1, 4, 4)
    loss = LOSSES[name](scores, target, ignore_value=IGNORED)
    loss.backward()
    assert loss.isfinite()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    if "sigmoid" not in name and name != "lovasz_hinge":
        # Of one class all probability is 1: there is nothing to learn.
        assert not scores.grad.any()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_with_weights_ignored_pixels_and_smoothing(smoothing: float) -> None:
    logits, target = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    target[1, 2:] = IGNORED
    weights = [0.5, 2.0, 1.0]
    got = cross_entropy_loss(
        logits, target, ignore_value=IGNORED, class_weights=weights, label_smoothing=smoothing
    )
    # torch divides by the weights of the labelled pixels, too.
    wanted = F.cross_entropy(
        logits,
        target,
        weight=torch.tensor(weights),
        ignore_index=IGNORED,
        label_smoothing=smoothing,
    )
    torch.testing.assert_close(got, wanted)
