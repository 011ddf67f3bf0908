"""Counts of operations, activations and parameters; parameters that no loss reaches."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn

from detectron2.utils import analysis


class Model(nn.Module):
    """One convolution that is used, one layer that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.unused = nn.Linear(2, 2)

    def forward(self, inputs: list[dict[str, Any]]) -> Any:
        out = self.conv(torch.stack([x["image"] for x in inputs]))
        if self.training:
            return {"loss": out.mean(), "other": out.sum()}
        return [{"out": out.sigmoid()}]


INPUTS = [{"image": torch.ones(3, 8, 8), "file_name": "x"}]
# 8 x 8 positions, 4 filters of 3 x 3 x 3 weights.
CONV = 8 * 8 * 4 * 27


def test_operations_are_counted_for_structured_inputs() -> None:
    counts = analysis.FlopCountAnalysis(Model().eval(), INPUTS)
    counts.uncalled_modules_warnings(False)
    assert counts.by_operator() == Counter({"conv": CONV})
    assert counts.total() == CONV


def test_operations_are_counted_in_units_of_1e9_and_the_mode_restored() -> None:
    model = Model().train()
    assert analysis.flop_count_operators(model, INPUTS) == {"conv": pytest.approx(CONV / 1e9)}
    assert model.training


def test_activations_are_counted_in_units_of_1e6() -> None:
    counts = analysis.activation_count_operators(Model(), INPUTS)
    assert counts == {"conv": pytest.approx(8 * 8 * 4 / 1e6)}


def test_further_operators_can_be_counted() -> None:
    def count(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
        return Counter({"sigmoid": 5})

    counts = analysis.activation_count_operators(
        Model(), INPUTS, supported_ops={"aten::sigmoid": count}
    )
    assert counts["sigmoid"] == pytest.approx(5e-6)


def test_unused_parameters_are_named_and_gradients_cleared() -> None:
    model = Model().train()
    assert analysis.find_unused_parameters(model, INPUTS) == ["unused.weight", "unused.bias"]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_unused_parameters_need_the_training_mode() -> None:
    with pytest.raises(AssertionError, match="training mode"):
        analysis.find_unused_parameters(Model().eval(), INPUTS)


def test_parameters_are_counted() -> None:
    assert analysis.parameter_count(Model())[""] == 4 * 27 + 4 + 2 * 2 + 2
    assert "unused" in analysis.parameter_count_table(Model())
