"""Printing, flattening and comparing results."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from golden import Golden

from detectron2.evaluation import print_csv_format, verify_results
from detectron2.evaluation.testing import flatten_results_dict


def config(*expected: list[Any]) -> SimpleNamespace:
    return SimpleNamespace(TEST=SimpleNamespace(EXPECTED_RESULTS=list(expected)))


def test_flattening_is_the_recorded_one() -> None:
    flat = flatten_results_dict({"a": {"b": 1, "c": {"d": 2}}, "e": 3})
    assert flat == Golden("predictor_and_misc").json("facts")["flatten"]


def test_main_metrics_are_printed_for_copying(caplog: pytest.LogCaptureFixture) -> None:
    results = {"bbox": {"AP": 1.0, "AP-cat": 2.0, "APl": float("nan")}, "speed": 3.5}
    with caplog.at_level(logging.INFO, logger="detectron2"):
        print_csv_format(results)
    assert caplog.messages == [
        "copypaste: Task: bbox",
        "copypaste: AP,APl",
        "copypaste: 1.0000,nan",
        "copypaste: speed=3.5",
    ]


def test_results_within_tolerance_pass() -> None:
    expected = Golden("predictor_and_misc").json("facts")["verify_ok"]
    results = {"bbox": {"AP": 38.6}}
    assert verify_results(config(["bbox", "AP", 38.5, 0.2]), results) is expected
    assert verify_results(config(), {}) is True


@pytest.mark.parametrize("results", [{"bbox": {"AP": 38.9}}, {"bbox": {"AP": float("nan")}}, {}])
def test_wrong_results_exit(results: dict[str, Any]) -> None:
    with pytest.raises(SystemExit, match="1"):
        verify_results(config(["bbox", "AP", 38.5, 0.2]), results)
