"""The evaluation loop and the combination of evaluators."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from golden import Golden, exception_name
from torch import nn

from detectron2.evaluation import (
    DatasetEvaluator,
    DatasetEvaluators,
    evaluator,
    inference_context,
    inference_on_dataset,
)

BATCHES = [[1, 2], [3]]


class Counter(DatasetEvaluator):
    """Counts inputs and reports them under a key, or reports nothing without a key."""

    def __init__(self, key: str | None) -> None:
        self.key = key
        self.count = 99

    def reset(self) -> None:
        self.count = 0

    def process(self, inputs: Any, outputs: Any) -> None:
        assert outputs == [2 * x for x in inputs]
        self.count += len(inputs)

    def evaluate(self) -> dict[str, Any] | None:
        return {self.key: {"n": self.count}} if self.key else None


class Doubler(nn.Module):
    """Doubles its inputs; fails when called in training mode or with gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)

    def forward(self, batch: list[int]) -> list[int]:
        assert not self.training
        assert not torch.is_grad_enabled()
        return [2 * x for x in batch]


@pytest.fixture
def model() -> Doubler:
    return Doubler().train()


def test_results_are_the_recorded_ones(model: Doubler) -> None:
    facts = Golden("predictor_and_misc").json("facts")
    merged = inference_on_dataset(model, BATCHES, [Counter("a"), Counter("b")])
    assert merged == facts["eval"]
    assert model.training == facts["restored_training"]
    assert inference_on_dataset(model, BATCHES, None) == facts["eval_none"]
    twice = [Counter("a"), Counter("a")]
    assert exception_name(lambda: inference_on_dataset(model, BATCHES, twice)) == facts["dup_keys"]


def test_no_result_is_an_empty_dict(model: Doubler) -> None:
    assert inference_on_dataset(model, BATCHES, Counter(None)) == {}
    assert inference_on_dataset(model, BATCHES, [Counter(None), Counter("b")]) == {"b": {"n": 3}}


def test_a_function_is_a_model() -> None:
    assert inference_on_dataset(lambda b: [2 * x for x in b], [[1]], Counter("a")) == {
        "a": {"n": 1}
    }


def test_an_empty_data_set_is_evaluated(model: Doubler) -> None:
    assert inference_on_dataset(model, [], Counter("a")) == {"a": {"n": 0}}


def test_a_loader_without_length_is_refused(model: Doubler) -> None:
    with pytest.raises(TypeError, match="generator has not"):
        inference_on_dataset(model, (b for b in BATCHES), Counter("a"))


def test_callbacks_run_around_each_batch(model: Doubler) -> None:
    calls: list[str] = []
    names = ("on_start", "before_inference", "after_inference", "on_end")
    callbacks = {name: lambda name=name: calls.append(name) for name in names}
    inference_on_dataset(model, BATCHES, Counter("a"), callbacks)
    assert calls == ["on_start", *names[1:3], *names[1:3], "on_end"]


def test_speed_is_logged(
    model: Doubler, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluator, "SECONDS_BETWEEN_LOG_LINES", 0.0)
    with caplog.at_level(logging.INFO, logger="detectron2"):
        inference_on_dataset(model, [[1]] * 8, Counter("a"))
    assert "Start inference on 8 batches" in caplog.text
    # The first five are a warm-up.
    assert "Inference done 5/8" not in caplog.text
    assert "Inference done 6/8" in caplog.text
    assert "Total inference time" in caplog.text


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_bar_is_for_terminals(
    model: Doubler,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    inference_on_dataset(model, BATCHES, Counter("a"))
    assert ("2/2" in capsys.readouterr().err) == terminal


def test_every_module_gets_its_mode_back(model: Doubler) -> None:
    model.norm.eval()
    with inference_context(model):
        assert not model.training
    assert model.training
    assert not model.norm.training


def test_mode_is_restored_after_an_error(model: Doubler) -> None:
    with pytest.raises(RuntimeError), inference_context(model):
        raise RuntimeError
    assert model.training


def test_base_class_does_nothing() -> None:
    base = DatasetEvaluator()
    base.reset()
    base.process([], [])
    assert base.evaluate() is None
    assert DatasetEvaluators([]).evaluate() == {}
