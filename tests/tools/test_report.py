"""The page of a trained run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import tool_main

from seg_projects.visualization.curves import format_number


def _report(*arguments: str | Path) -> int:
    return tool_main("report")([str(argument) for argument in arguments])


@pytest.fixture
def run_copy(tiny_run: Any, tmp_path: Path) -> Path:
    """A copy of the trained run, to write into."""
    return Path(shutil.copytree(tiny_run.output, tmp_path / "run"))


def test_page_and_pictures_are_written(run_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _report("--config-file", run_copy / "config.yaml", "OUTPUT_DIR", run_copy) == 0
    assert capsys.readouterr().out.strip().endswith(f"Report: {run_copy / 'report.html'}")
    page = (run_copy / "report.html").read_text()
    results = json.loads((run_copy / "evaluation.json").read_text())
    assert format_number(results["sem_seg"]["mIoU"]) in page
    assert "SegPanopticFPN on tiny_val" in page
    # One picture for each of the two scenes, though 12 are asked for.
    assert len(list((run_copy / "report").glob("*.png"))) == 2


@pytest.mark.parametrize(("asked", "shown"), [("0", 0), ("1", 1)])
def test_as_many_samples_as_asked_for(run_copy: Path, asked: str, shown: int) -> None:
    config = run_copy / "config.yaml"
    assert _report("--config-file", config, "--samples", asked, "OUTPUT_DIR", run_copy) == 0
    assert len(list((run_copy / "report").glob("*.png"))) == shown


def test_the_worst_images_are_shown_with_their_values(run_copy: Path) -> None:
    folder = run_copy / "inference/tiny_val"
    worst = json.loads((folder / "panoptic.json").read_text())["worst_images"]["PQ"]
    config = ("--config-file", run_copy / "config.yaml", "OUTPUT_DIR", run_copy)
    assert _report("--samples", "0", "--worst", "1", *config) == 0
    page = (run_copy / "report.html").read_text()
    assert f"PQ {worst[0]['value']:.1f} (worst 1)" in page
    assert "(worst 2)" not in page
    section = page.split('<section id="worst"')[1]
    assert section.count("<article") in (1, 2)  # one image may be the worst of all metrics
    assert section.count("<figcaption>Ground truth") == section.count("<article")
    assert _report("--samples", "0", "--worst", "0", *config) == 0
    assert "Worst images" not in (run_copy / "report.html").read_text()


def test_of_several_test_sets_the_first_is_shown(run_copy: Path) -> None:
    results = json.loads((run_copy / "evaluation.json").read_text())
    both = {"tiny_val": results, "tiny_train": {"sem_seg": {"mIoU": 99.9}}}
    (run_copy / "evaluation.json").write_text(json.dumps(both))
    overrides = ("OUTPUT_DIR", run_copy, "DATASETS.TEST", "('tiny_val', 'tiny_train')")
    assert _report("--config-file", run_copy / "config.yaml", "--samples", "0", *overrides) == 0
    page = (run_copy / "report.html").read_text()
    assert format_number(results["sem_seg"]["mIoU"]) in page
    assert "99.9" not in page


def test_run_without_evaluation_is_a_mistake(
    run_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_copy / "evaluation.json").unlink()
    assert _report("--config-file", run_copy / "config.yaml", "OUTPUT_DIR", run_copy) == 2
    assert "run holds no evaluation.json: train or evaluate first." in capsys.readouterr().err


@pytest.mark.parametrize("names", ["()", "('coco_2017_val_panoptic_stuffonly',)", "('absent',)"])
def test_data_set_that_no_report_shows_is_a_mistake(
    run_copy: Path, capsys: pytest.CaptureFixture[str], names: str
) -> None:
    overrides = ("OUTPUT_DIR", run_copy, "DATASETS.TEST", names)
    assert _report("--config-file", run_copy / "config.yaml", *overrides) == 2
    assert "the report shows the first one, which the config declares" in capsys.readouterr().err


def test_missing_files_of_a_data_set_are_a_mistake(
    run_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ("OUTPUT_DIR", run_copy, "DATASETS.TEST", "('coco_2014_minival',)")
    assert _report("--config-file", run_copy / "config.yaml", *overrides) == 2
    assert "The data set coco_2014_minival is not there" in capsys.readouterr().err


def test_missing_weights_are_a_mistake(run_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_copy / "model_final.pth").unlink()
    assert _report("--config-file", run_copy / "config.yaml", "OUTPUT_DIR", run_copy) == 2
    assert f"The weights {run_copy / 'model_final.pth'} do not exist" in capsys.readouterr().err
