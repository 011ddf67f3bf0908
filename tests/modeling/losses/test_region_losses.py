"""Losses of regions: Dice, Lovasz, boundary; slow definitions beside them."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch

from seg_projects.modeling.losses import (
    boundary_loss,
    dice_loss,
    lovasz_hinge_loss,
    lovasz_softmax_loss,
    sigmoid_boundary_loss,
    sigmoid_dice_loss,
)
from seg_projects.modeling.losses.boundary import signed_distances

VOID = 255


def _random(num_classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    target = torch.randint(0, num_classes, (2, 3, 4))
    target[0, 1] = VOID
    return torch.randn(2, num_classes, 3, 4), target


def test_dice_is_one_minus_twice_the_overlap_over_the_sizes():
    # Probabilities of class 0: 3/4, 1/2; of class 1: 1/4, 1/2; the third pixel is ignored.
    logits = torch.tensor([[log(3), 0, 9], [0, 0, 0]]).view(1, 2, 1, 3)
    loss = dice_loss(logits, torch.tensor([[[0, 1, VOID]]]), ignore_value=VOID, smooth=1e-6)
    class_0, class_1 = 2 * 0.75 / (1.25 + 1), 2 * 0.5 / (0.75 + 1)
    assert loss.item() == pytest.approx(1 - (class_0 + class_1) / 2, abs=1e-5)


def test_dice_leaves_out_classes_that_do_not_occur():
    logits = torch.zeros(1, 3, 1, 2)
    loss = dice_loss(logits, torch.zeros(1, 1, 2).long(), ignore_value=VOID, smooth=1e-6)
    assert loss.item() == pytest.approx(1 - 2 * (2 / 3) / (2 / 3 + 2), abs=1e-5)


def test_sigmoid_dice_punishes_what_is_found_of_an_absent_class():
    # Class 0 is everywhere and half found, class 1 nowhere and half found.
    loss = sigmoid_dice_loss(torch.zeros(1, 2, 1, 2), torch.zeros(1, 1, 2).long(), ignore_value=9)
    assert loss.item() == pytest.approx((2 - (1 + 1) / (1.5 + 1) - 1 / (0.5 + 1)) / 2)


def _jaccard_loss(wrong: set[int], truth: set[int]) -> float:
    """Equation 3 of the paper, for the set of wrong pixels."""
    return len(wrong) / len(truth | wrong) if truth | wrong else 0.0


def _lovasz_extension(errors: np.ndarray, truth: set[int]) -> float:
    """Equations 8 and 9, term by term."""
    order = sorted(range(len(errors)), key=lambda i: -errors[i])
    total, wrong, before = 0.0, set(), 0.0
    for i in order:
        wrong = wrong | {i}
        total += errors[i] * (_jaccard_loss(wrong, truth) - before)
        before = _jaccard_loss(wrong, truth)
    return total


def test_lovasz_softmax_follows_its_definition():
    logits, target = _random()
    labels = target[target != VOID].numpy()
    probabilities = logits.softmax(dim=1).transpose(0, 1)[:, target != VOID].numpy()
    losses = [
        _lovasz_extension(
            np.abs((labels == k) - probabilities[k]), set(np.flatnonzero(labels == k))
        )
        for k in range(3)
    ]
    loss = lovasz_softmax_loss(logits, target, ignore_value=VOID)
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_lovasz_softmax_of_certain_answers_is_the_jaccard_loss():
    # One of two pixels of class 0 is taken for class 1: IoU 1/2 and 0.
    logits = 100 * torch.tensor([[1.0, 0], [0, 1]]).view(1, 2, 1, 2)
    loss = lovasz_softmax_loss(logits, torch.zeros(1, 1, 2).long(), ignore_value=VOID)
    assert loss.item() == pytest.approx(0.5)


def test_lovasz_hinge_follows_its_definition():
    logits, target = _random(2)
    labels = target[target != VOID].numpy()
    scores = logits.transpose(0, 1)[:, target != VOID].numpy()
    losses = [
        _lovasz_extension(
            np.maximum(0, 1 - scores[k] * np.where(labels == k, 1, -1)),
            set(np.flatnonzero(labels == k)),
        )
        for k in range(2)
    ]
    loss = lovasz_hinge_loss(logits, target, ignore_value=VOID)
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("loss", [dice_loss, lovasz_softmax_loss])
def test_perfect_answer_has_no_loss(loss):
    _, target = _random()
    logits = 1000.0 * torch.nn.functional.one_hot(target.clamp(max=2), 3).movedim(3, 1)
    assert loss(logits, target, ignore_value=VOID).item() == pytest.approx(0, abs=1e-6)


def _slow_distances(region: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Pixel by pixel, over all pairs."""
    result = np.zeros(region.shape)
    inside = np.argwhere(region & valid)
    outside = np.argwhere(~region & valid)
    if not len(inside) or not len(outside):
        return result
    for y, x in inside:
        result[y, x] = 1 - np.hypot(*(outside - [y, x]).T).min()
    for y, x in outside:
        result[y, x] = np.hypot(*(inside - [y, x]).T).min()
    return result


def test_signed_distances_follow_their_definition():
    rng = np.random.default_rng(1)
    valid = rng.random((1, 3, 9, 13)) < 0.8
    region = (rng.random(valid.shape) < 0.3) & valid
    region[0, 2] = False  # a class that is absent
    got = signed_distances(torch.from_numpy(region), torch.from_numpy(valid))[0].numpy()
    for k in range(3):
        np.testing.assert_allclose(got[k], _slow_distances(region[0, k], valid[0, k]), rtol=1e-4)


def test_boundary_loss_weighs_probability_by_distance():
    # Class 0 is pixel 0: distances 0, 1, 2; class 1 is the rest: 1, 0, -1. All probabilities 1/2.
    logits, target = torch.zeros(1, 2, 1, 3), torch.tensor([[[0, 1, 1]]])
    for loss in (boundary_loss, sigmoid_boundary_loss):
        assert loss(logits, target, ignore_value=VOID).item() == pytest.approx(0.5 * 3 / 6)


def test_boundary_loss_knows_no_void_pixels():
    # Class 0 is pixel 0: distances -1, 2, 3; class 1 pixels 2 and 3: 2, -1, -2. Void is pixel 1.
    logits, target = torch.zeros(1, 2, 1, 4), torch.tensor([[[0, VOID, 1, 1]]])
    for loss in (boundary_loss, sigmoid_boundary_loss):
        assert loss(logits, target, ignore_value=VOID).item() == pytest.approx(0.5 * 3 / 6)


def test_boundary_loss_pulls_towards_the_region():
    logits = torch.zeros(1, 2, 1, 5, requires_grad=True)
    boundary_loss(logits, torch.tensor([[[0, 0, 0, 1, 1]]]), ignore_value=VOID).backward()
    assert logits.grad is not None
    # Descent raises class 0 inside it and lowers it outside.
    assert (logits.grad[0, 0, 0] < 0).tolist() == [True, True, True, False, False]


def test_smooth_0_is_refused():
    with pytest.raises(ValueError, match="smooth=0"):
        dice_loss(*_random(), ignore_value=VOID, smooth=0)
