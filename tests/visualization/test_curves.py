"""Training curves: reading metrics, choosing charts, numbers and ticks."""

from __future__ import annotations

import logging
import xml.etree.ElementTree as ET
from math import inf, nan
from pathlib import Path

import pytest

from seg_projects.visualization.curves import (
    Chart,
    axis_ticks,
    chart_html,
    format_number,
    read_metrics,
    training_charts,
)


def test_a_line_that_was_cut_off_is_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.json"
    # A crash in the second line, a resumed run that appends to it, and another crash.
    path.write_text('{"iteration": 1, "lr": 0.5}\n{"itera{"x": 1}\n\n{"iteration": 3}\n{"iter')
    with caplog.at_level(logging.WARNING):
        assert read_metrics(path) == [{"iteration": 1, "lr": 0.5}, {"iteration": 3}]
    assert "2 incomplete" in caplog.text


def test_only_numbers_are_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text('{"iteration": 1, "name": "x", "flag": true, "list": [1]}\n[1]\n')
    assert read_metrics(path) == [{"iteration": 1}]


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").touch()
    assert read_metrics(tmp_path / "metrics.json") == []


def test_charts_are_those_that_have_values() -> None:
    records = [
        {"iteration": 9, "total_loss": 3.0, "loss_mask": 1.0, "loss_cls": 2.0},
        {"iteration": 19, "total_loss": 2.0, "panoptic_seg/PQ": 40.0, "segm/AP": 7.0},
        {"total_loss": 1.0},
    ]
    charts = {chart.title: chart.series for chart in training_charts(records)}
    assert charts == {
        "Panoptic quality": {"PQ": [(19, 40.0)]},
        "Average precision": {"mask AP": [(19, 7.0)]},
        "Total loss": {"total_loss": [(9, 3.0), (19, 2.0)]},
        "Losses": {"loss_cls": [(9, 2.0)], "loss_mask": [(9, 1.0)]},
    }


def test_no_records_no_charts() -> None:
    assert training_charts([]) == []


def test_a_resumed_run_replaces_and_values_that_are_not_finite_are_left_out() -> None:
    losses = [(10, 5.0), (20, 4.0), (30, nan), (20, 3.0), (40, inf)]
    records = [{"iteration": i, "total_loss": loss} for i, loss in losses]
    assert training_charts(records)[0].series == {"total_loss": [(10, 5.0), (20, 3.0)]}


def test_long_runs_are_thinned_but_keep_their_spikes() -> None:
    records = [{"iteration": i, "total_loss": 1.0 + i / 1e6} for i in range(10_000)]
    records[5_003]["total_loss"] = 50.0
    points = training_charts(records)[0].series["total_loss"]
    assert len(points) <= 400
    assert (5_003, 50.0) in points
    assert list(points) == sorted(points)
    assert (points[0][0], points[-1][0]) == (0, 9_999)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0, "0"),
        (6, "6"),
        (1234567, "1,234,567"),
        (68.467, "68.47"),
        (5.0, "5.00"),
        (0.41234, "0.4123"),
        (0.0001, "1.00e-4"),
        (812.34, "812.3"),
        (-54321.6, "-54,322"),
        (nan, "–"),  # noqa: RUF001 - an en dash
        (-inf, "-∞"),
    ],
)
def test_numbers_read_well(value: float, text: str) -> None:
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 80, [0, 20, 40, 60, 80]),
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 4.1, [0, 1, 2, 3, 4, 5]),
        (-3, 9, [-5, -2.5, 0, 2.5, 5, 7.5, 10]),
        (0, 0, [0, 0.2]),
    ],
)
def test_ticks_are_round_and_enclose_the_range(
    low: float, high: float, expected: list[float]
) -> None:
    assert axis_ticks(low, high) == pytest.approx(expected)


def test_a_chart_is_well_formed_and_says_what_it_shows() -> None:
    chart = Chart(title="A <b>", unit="%", series={"x&y": [(0, 1.0), (10, 4.0)], "z": [(5, 2.0)]})
    figure = ET.fromstring(chart_html(chart))
    svg = figure.find("svg")
    assert svg is not None
    assert svg.attrib["aria-label"].startswith("A <b> over the iterations: x&y from 1.00 to 4.00")
    lines = [path.attrib["d"] for path in svg.iter("path") if path.attrib["class"] == "line"]
    assert len(lines) == 2
    # z, drawn first: half-way along the axis from 46 to 390.
    assert lines[0].startswith("M218.0 ")


@pytest.mark.parametrize("points", [[(0, 0.0)], [(7, -2.0)], [(3, 1e-9), (4, 1e-9)], [(1, 1e12)]])
def test_extreme_points_stay_inside_the_chart(points: list[tuple[float, float]]) -> None:
    svg = ET.fromstring(chart_html(Chart(title="t", unit="", series={"s": points}))).find("svg")
    assert svg is not None
    for circle in svg.iter("circle"):
        assert 46 <= float(circle.attrib["cx"]) <= 390
        assert 8 <= float(circle.attrib["cy"]) <= 196
