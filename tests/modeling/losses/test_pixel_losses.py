"""Losses that are means over pixels: cross entropy, hard pixels, focal."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from torch.nn import functional as F

from seg_projects.modeling.losses import (
    cross_entropy_loss,
    focal_loss,
    hard_pixel_cross_entropy_loss,
    sigmoid_cross_entropy_loss,
    sigmoid_focal_loss,
    sigmoid_hard_pixel_cross_entropy_loss,
)
from seg_projects.modeling.losses.hard_pixels import DeepLabCE, mean_of_hardest
from seg_projects.modeling.losses.labels import label_planes

VOID = 255


@pytest.fixture
def four_pixels() -> tuple[torch.Tensor, torch.Tensor]:
    """Losses ln 2, ln 4/3, ln 4 and, ignored, 0; probabilities 1/2, 3/4, 1/4 of the truth."""
    logits = torch.tensor([[0, log(3), log(3), 0], [0, 0, 0, 0]]).view(1, 2, 1, 4)
    return logits, torch.tensor([[[0, 0, 1, VOID]]])


def test_cross_entropy_is_the_mean_over_labelled_pixels(four_pixels):
    loss = cross_entropy_loss(*four_pixels, ignore_value=VOID)
    assert loss.item() == pytest.approx((log(2) + log(4 / 3) + log(4)) / 3)


def test_class_weights_weigh_pixels_by_their_class(four_pixels):
    loss = cross_entropy_loss(*four_pixels, ignore_value=VOID, class_weights=[1, 3])
    assert loss.item() == pytest.approx((log(2) + log(4 / 3) + 3 * log(4)) / 5)


def test_label_smoothing_spreads_the_label(four_pixels):
    # 0.8 of the loss of the truth and 0.2 of the mean of both classes' losses.
    loss = cross_entropy_loss(*four_pixels, ignore_value=VOID, label_smoothing=0.2)
    truth = (log(2) + log(4 / 3) + log(4)) / 3
    spread = (log(2) + 2 * (log(4 / 3) + log(4)) / 2) / 3
    assert loss.item() == pytest.approx(0.8 * truth + 0.2 * spread)


@pytest.mark.parametrize(("weights", "smoothing"), [(None, 0.0), ([0.5, 2.0, 1.0], 0.0)])
def test_cross_entropy_is_that_of_torch(weights, smoothing):
    logits, target = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    target[0, 0] = VOID
    loss = cross_entropy_loss(
        logits, target, ignore_value=VOID, class_weights=weights, label_smoothing=smoothing
    )
    weight = None if weights is None else torch.tensor(weights)
    torch.testing.assert_close(loss, F.cross_entropy(logits, target, weight, ignore_index=VOID))


@pytest.mark.parametrize(("fraction", "expected"), [(1, log(32 / 3) / 4), (0.5, log(8) / 2)])
def test_keeps_the_hardest_pixels(four_pixels, fraction, expected):
    loss = hard_pixel_cross_entropy_loss(*four_pixels, fraction=fraction, ignore_value=VOID)
    assert loss.item() == pytest.approx(expected)


@pytest.mark.parametrize(
    "loss", [hard_pixel_cross_entropy_loss, sigmoid_hard_pixel_cross_entropy_loss]
)
def test_a_fifth_is_kept_where_nothing_is_said_rounded_down(loss):
    # Two planes of 7 pixels: 0.2 keeps 1 pixel of 7, or 2 answers of 14.
    logits, target = torch.randn(1, 2, 1, 7), torch.randint(0, 2, (1, 1, 7))
    found = loss(logits, target, ignore_value=VOID)
    every = loss(logits, target, ignore_value=VOID, fraction=0.285)
    assert found == loss(logits, target, ignore_value=VOID, fraction=0.2)
    assert (found == every) == (loss is hard_pixel_cross_entropy_loss)


def test_of_nothing_the_hardest_weigh_nothing():
    assert mean_of_hardest(torch.zeros(0), 0.5).item() == 0


@pytest.mark.parametrize(
    ("weights", "expected"), [(None, log(32 / 3) / 4), ([1, 2, 3, 9], log(2048 / 9) / 4)]
)
def test_detectron2s_loss_ignores_label_minus_1_and_keeps_all_pixels(
    four_pixels, weights, expected
):
    # The sum of ln 2, ln 4/3 and ln 4, once each; then once, twice and three times.
    logits, target = four_pixels
    weights = None if weights is None else torch.tensor(weights).view(1, 1, 4)
    loss = DeepLabCE()(logits, target.where(target != VOID, -1), weights)
    assert loss.item() == pytest.approx(expected)


def test_keeps_at_least_one_pixel(four_pixels):
    loss = hard_pixel_cross_entropy_loss(*four_pixels, fraction=0.01, ignore_value=VOID)
    assert loss.item() == pytest.approx(log(4))


@pytest.mark.parametrize("options", [{"gamma": 2}, {}])
def test_focal_turns_away_from_easy_pixels(four_pixels, options):
    # The factors are 1/4, 1/16 and 9/16.
    loss = focal_loss(*four_pixels, ignore_value=VOID, **options)
    assert loss.item() == pytest.approx((log(2) / 4 + log(4 / 3) / 16 + log(4) * 9 / 16) / 3)


def test_focal_with_gamma_0_is_cross_entropy(four_pixels):
    wanted = cross_entropy_loss(*four_pixels, ignore_value=VOID)
    torch.testing.assert_close(focal_loss(*four_pixels, ignore_value=VOID, gamma=0), wanted)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_of_certain_pixels_has_a_finite_gradient(gamma):
    logits = torch.tensor([200.0, -200.0]).view(1, 2, 1, 1).requires_grad_()
    focal_loss(logits, torch.zeros(1, 1, 1).long(), ignore_value=VOID, gamma=gamma).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("loss", "planes", "expected"),
    [
        (cross_entropy_loss, 2, log(2)),
        (hard_pixel_cross_entropy_loss, 2, log(2)),
        (focal_loss, 2, log(2) / 4),
        (sigmoid_cross_entropy_loss, 1, log(2)),
        (sigmoid_hard_pixel_cross_entropy_loss, 1, log(2)),
        (sigmoid_focal_loss, 1, log(2) / 4),
    ],
)
def test_a_single_answer_counts_in_full(loss, planes, expected):
    # One pixel of probability 1/2.
    logits, target = torch.zeros(1, planes, 1, 1), torch.zeros(1, 1, 1).long()
    assert loss(logits, target, ignore_value=VOID).item() == pytest.approx(expected)


# Pixel 0 has class 0, pixel 1 is ignored; all probabilities are 1/4 and 1/2.
SIGMOID_LOGITS = torch.tensor([[-log(3), 5.0], [0.0, -5.0]]).view(1, 2, 1, 2)
SIGMOID_TARGET = torch.tensor([[[0, VOID]]])


def test_sigmoid_cross_entropy_asks_one_question_per_class():
    loss = sigmoid_cross_entropy_loss(SIGMOID_LOGITS, SIGMOID_TARGET, ignore_value=VOID)
    assert loss.item() == pytest.approx((log(4) + log(2)) / 2)


def test_pixels_may_have_several_classes_and_ignore_single_answers():
    target = torch.tensor([[1, 0], [1, VOID]]).view(1, 2, 1, 2)
    loss = sigmoid_cross_entropy_loss(SIGMOID_LOGITS, target, ignore_value=VOID)
    assert loss.item() == pytest.approx((log(4) + log(1 + exp(5)) + log(2)) / 3)


@pytest.mark.parametrize("weights", [[1.0, 3.0], torch.tensor([1.0, 3.0])])
def test_class_weights_make_pixels_harder(four_pixels, weights):
    loss = hard_pixel_cross_entropy_loss(
        *four_pixels, fraction=0.5, ignore_value=VOID, class_weights=weights
    )
    assert loss.item() == pytest.approx((log(2) + 3 * log(4)) / 2)


def test_sigmoid_hard_pixels_are_the_hardest_answers():
    loss = sigmoid_hard_pixel_cross_entropy_loss(
        SIGMOID_LOGITS, SIGMOID_TARGET, ignore_value=VOID, fraction=0.25
    )
    assert loss.item() == pytest.approx(log(4))


def test_sigmoid_focal_follows_its_definition():
    # alpha (1 - p)^2 ln 1/p of the truth, (1 - alpha) p^2 ln 1/(1 - p) of the other class.
    loss = sigmoid_focal_loss(SIGMOID_LOGITS, SIGMOID_TARGET, ignore_value=VOID, alpha=0.25)
    assert loss.item() == pytest.approx((0.25 * 9 / 16 * log(4) + 0.75 / 4 * log(2)) / 2)


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        (cross_entropy_loss, {"label_smoothing": 1.0}, "label_smoothing=1.0"),
        (cross_entropy_loss, {"class_weights": [1, 2, 3]}, "class_weights has 3 values, K is 2"),
        (hard_pixel_cross_entropy_loss, {"fraction": 0}, "fraction=0"),
        (hard_pixel_cross_entropy_loss, {"fraction": 1.5}, "fraction=1.5"),
        (hard_pixel_cross_entropy_loss, {"class_weights": [1]}, "has 1 values, K is 2"),
        (focal_loss, {"gamma": -1}, "gamma=-1"),
        (sigmoid_focal_loss, {"gamma": -1}, "gamma=-1"),
    ],
)
def test_values_out_of_range_are_refused(four_pixels, loss, options, message):
    with pytest.raises(ValueError, match=message):
        loss(*four_pixels, ignore_value=VOID, **options)


def test_planes_have_neither_label_nor_weight_where_ignored():
    target = torch.tensor([[1, VOID], [VOID, 0]]).view(1, 2, 1, 2)
    planes = label_planes(target, SIGMOID_LOGITS, ignore_value=VOID)
    assert planes.labels.flatten().tolist() == [1, 0, 0, 0]
    assert planes.valid.flatten().tolist() == [1, 0, 0, 1]


def test_planes_of_another_class_count_are_refused():
    with pytest.raises(ValueError, match="3 planes, the logits 2 classes"):
        sigmoid_cross_entropy_loss(SIGMOID_LOGITS, torch.zeros(1, 3, 1, 2), ignore_value=VOID)
