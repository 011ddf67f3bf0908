"""Learned balance: equation 10 of arXiv:1705.07115, its gradients, what it logs."""

from __future__ import annotations

from math import exp, log

import pytest
import torch

from detectron2.utils.events import EventStorage
from seg_projects.modeling.losses.learned_balance import LearnedBalance

BRANCHES = {"loss_a": "instance", "loss_b": "instance", "loss_c": "semantic"}


def _balance(instance: float, semantic: float) -> LearnedBalance:
    balance = LearnedBalance(("instance", "semantic"))
    with torch.no_grad():
        balance.log_variances.copy_(torch.tensor([instance, semantic]))
    return balance


def _losses(a: float, b: float, c: float) -> dict[str, torch.Tensor]:
    return {"loss_a": torch.tensor(a), "loss_b": torch.tensor(b), "loss_c": torch.tensor(c)}


def test_sum_is_that_of_the_paper() -> None:
    with EventStorage():
        balanced = _balance(0.5, -1.0)(_losses(1.0, 2.0, 4.0), BRANCHES)
    wanted = 3 * exp(-0.5) + 4 * exp(1) + (0.5 - 1.0) / 2
    assert sum(balanced.values()).item() == pytest.approx(wanted)


def test_variance_rises_with_a_large_loss_and_falls_with_a_small_one() -> None:
    balance = _balance(0.0, 0.0)
    with EventStorage():
        sum(balance(_losses(1.0, 2.0, 0.1), BRANCHES).values()).backward()
    # d/ds of L exp(-s) + s / 2 at s = 0; descent goes against it.
    assert balance.log_variances.grad is not None
    torch.testing.assert_close(balance.log_variances.grad, torch.tensor([0.5 - 3.0, 0.5 - 0.1]))


def test_descent_ends_where_the_variance_is_twice_the_loss() -> None:
    balance = _balance(0.0, 0.0)
    optimizer = torch.optim.SGD(balance.parameters(), lr=0.5)
    with EventStorage():
        for _ in range(100):
            optimizer.zero_grad()
            sum(balance(_losses(0.5, 1.0, 0.25), BRANCHES).values()).backward()
            optimizer.step()
    wanted = torch.tensor([log(2 * 1.5), log(2 * 0.25)])
    torch.testing.assert_close(balance.log_variances.detach(), wanted, atol=1e-3, rtol=0)


def test_weights_are_logged() -> None:
    with EventStorage() as storage:
        _balance(log(2), 0.0)(_losses(1.0, 1.0, 1.0), BRANCHES)
        latest = storage.latest()
    assert latest["balance/instance"][0] == pytest.approx(0.5)
    assert latest["balance/semantic"][0] == pytest.approx(1.0)
