"""Assertions hold, except while torch.fx records code that has no values yet."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detectron2.utils import tracing


class Asserting(nn.Module):
    """Asserts what is false and tells whether it is traced."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not (tracing.is_fx_tracing() and tracing.is_fx_tracing_legacy()):
            raise RuntimeError("not traced")
        tracing.assert_fx_safe(x.shape[0] > 100, "too few")
        return x + 1


def test_a_true_condition_gives_a_tensor() -> None:
    assert tracing.assert_fx_safe(True, "x").tolist() == [1.0]


def test_a_false_condition_is_an_error() -> None:
    with pytest.raises(AssertionError, match="too few"):
        tracing.assert_fx_safe(False, "too few")


def test_tracing_is_recognised_and_asserts_nothing() -> None:
    assert tracing.tracing_current_exists
    assert tracing.tracing_legacy_exists
    traced = torch.fx.symbolic_trace(Asserting())
    assert traced(torch.zeros(2)).tolist() == [1.0, 1.0]


def test_nothing_is_traced_outside() -> None:
    assert not tracing.is_fx_tracing()
    assert not tracing.is_fx_tracing_legacy()


def test_scripted_code_asserts() -> None:
    def checked(x: torch.Tensor) -> torch.Tensor:
        return tracing.assert_fx_safe(x.dim() == 2, "not a matrix") + x

    scripted = torch.jit.script(checked)
    assert scripted(torch.zeros(1, 1)).tolist() == [[1.0]]
    with pytest.raises(torch.jit.Error, match="not a matrix"):
        scripted(torch.zeros(1))
