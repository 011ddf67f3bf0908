"""What holds for every loss, and the sum that a config chooses."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seg_projects.errors import UserError
from seg_projects.modeling.losses import LOSSES, dice_loss, parse_losses, weighted_losses

VOID = 255


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 3, 0, 4), (2, 3, 4, 4), (1, 3, 1, 1)])
def test_nothing_labelled_gives_a_finite_loss_with_gradient(name: str, shape: tuple[int, ...]):
    logits = torch.randn(shape, requires_grad=True)
    target = torch.full((shape[0], *shape[2:]), VOID)
    loss = LOSSES[name](logits, target, ignore_value=VOID)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("name", LOSSES)
def test_ignored_pixels_change_nothing(name: str):
    # The hard pixels are a share of all pixels, ignored ones too: so as many stay.
    logits, target = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    target[:, 1:3, 2] = VOID
    other = torch.where((target == VOID)[:, None], torch.randn_like(logits), logits)
    losses = [LOSSES[name](x, target, ignore_value=VOID) for x in (logits, other)]
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("name", LOSSES)
def test_descent_finds_the_labels(name: str):
    target = torch.arange(24).view(1, 4, 6) // 3 % 3
    logits = torch.zeros(1, 3, 4, 6)
    for _ in range(8):
        logits.requires_grad_()
        (gradient,) = torch.autograd.grad(LOSSES[name](logits, target, ignore_value=VOID), logits)
        logits = logits.detach() - 0.3 * gradient.sign()
    # The boundary itself has the distance 0: the boundary loss teaches nothing there.
    share = 0.5 if "boundary" in name else 0.95
    assert (logits.argmax(dim=1) == target).float().mean() >= share


@pytest.mark.gpu
@pytest.mark.parametrize("name", LOSSES)
def test_losses_on_cuda_are_those_on_the_cpu(name: str):
    logits, target = torch.randn(2, 3, 8, 9), torch.randint(0, 3, (2, 8, 9))
    target[0, 2:4] = VOID
    there = LOSSES[name](logits.cuda(), target.cuda(), ignore_value=VOID).cpu()
    torch.testing.assert_close(there, LOSSES[name](logits, target, ignore_value=VOID))


def test_sum_has_each_loss_times_its_weight_under_its_name():
    logits, target = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 4, 4))
    chosen = parse_losses([["cross_entropy", 1], ["dice", 0.5, {"smooth": 2.0}]], num_classes=3)
    losses = weighted_losses(chosen, logits.bfloat16(), target, ignore_value=VOID)
    assert losses.keys() == {"loss_sem_seg_cross_entropy", "loss_sem_seg_dice"}
    wanted = 0.5 * dice_loss(logits.bfloat16().float(), target, ignore_value=VOID, smooth=2.0)
    torch.testing.assert_close(losses["loss_sem_seg_dice"], wanted)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "LOSSES is empty"),
        (["dice"], "has 'dice': an entry is"),
        ([["dice"]], "an entry is"),
        ([["dize", 1.0]], r"unknown loss 'dize'; known: cross_entropy, .*\. Did you mean dice\?$"),
        ([["xyz", 1.0]], r"unknown loss 'xyz'; known: cross_entropy, [^.]*\.$"),
        ([["dice", 0.0]], "weight of dice is 0.0"),
        ([["dice", "1"]], "weight of dice is '1'"),
        ([["dice", float("inf")]], "weight of dice is inf"),
        ([["dice", float("nan")]], "weight of dice is nan"),
        ([["dice", 1.0], ["dice", 2.0]], "'dice' more than once"),
        ([["dice", 1.0, {"gamma": 2}]], r"options \{'gamma': 2\}; it knows \['smooth'\]"),
        ([["dice", 1.0, 3]], "options 3"),
        ([["focal", 1.0, {"gamma": -1}]], "gamma=-1"),
        ([["focal", 1.0, {"gamma": "two"}]], "focal refuses"),
        ([["cross_entropy", 1.0, {"class_weights": [1, 2]}]], "2 values, K is 3"),
    ],
)
def test_malformed_entries_are_refused(entries: list[Any], message: str):
    with pytest.raises(UserError, match=message):
        parse_losses(entries, num_classes=3)
