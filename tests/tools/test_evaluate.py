"""The tool that scores files: tables, JSON, CSV, exit status."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_runs import tool_main

IDS = np.array([[3, 3, 3, 3], [1, 1, 2, 2]])
SEGMENTS = [(1, 8, 0), (2, 3, 0), (3, 5, 0)]


def _evaluate(*arguments: str | Path) -> int:
    return tool_main("evaluate")([str(argument) for argument in arguments])


@pytest.fixture
def panoptic(tmp_path: Path, write_panoptic: Any) -> list[str | Path]:
    """Arguments that compare a scene with one whose dog is missed."""
    truth = write_panoptic(tmp_path / "truth", [(IDS, SEGMENTS)])
    found = write_panoptic(tmp_path / "found", [(np.where(IDS == 1, 0, IDS), SEGMENTS[1:])])
    sides = ("--truth", truth, "--truth-masks", tmp_path / "truth/masks", "--predictions", found)
    return ["panoptic", *sides, "--prediction-masks", tmp_path / "found/masks"]


@pytest.fixture
def semantic(tmp_path: Path) -> list[str | Path]:
    """Arguments that compare two label maps: 3 of 4 pixels right, one ignored."""
    maps = {"truth": [[0, 0, 1, 1, 255]], "found": [[0, 0, 1, 0, 0]]}
    for name, labels in maps.items():
        (tmp_path / name).mkdir()
        Image.fromarray(np.array(labels, dtype=np.uint8)).save(tmp_path / name / "a.png")
    sides = ("--truth", tmp_path / "truth", "--predictions", tmp_path / "found")
    return ["semantic", *sides, "--classes", "road,sky"]


def test_panoptic_files_give_tables_json_and_csv(
    panoptic: list[str | Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    json_file, csv_file = tmp_path / "out.json", tmp_path / "out.csv"
    assert _evaluate(*panoptic, "--json", json_file, "--csv", csv_file) == 0
    # Cat and sky are perfect, the dog has PQ 0; no grass occurs.
    content = json.loads(json_file.read_text())
    assert content["summary"]["PQ"] == pytest.approx(200 / 3)
    assert content["per_category"]["dog"]["FN"] == 1
    assert content["per_category"]["grass"]["PQ"] is None
    rows = {
        (row["category"], row["metric"]): row["value"]
        for row in csv.DictReader(csv_file.read_text().splitlines())
    }
    assert float(rows["", "PQ"]) == content["summary"]["PQ"]
    assert rows["dog", "FN"] == "1.0"
    assert "66.667" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("threshold", "status"), [("PQ=60", 0), ("PQ=70", 1), ("PQ_th=51", 1), ("PQ=66.6", 0)]
)
def test_thresholds_set_the_exit_status(
    panoptic: list[str | Path], threshold: str, status: int
) -> None:
    assert _evaluate(*panoptic, "--fail-under", threshold) == status


def test_an_unmet_threshold_is_said(
    panoptic: list[str | Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _evaluate(*panoptic, "--fail-under", "PQ=60", "--fail-under", "SQ=99") == 1
    assert capsys.readouterr().err.endswith("failed: SQ is 66.667, below the required 99.\n")


@pytest.mark.parametrize(
    ("threshold", "message"),
    [("PQ", "not of the form"), ("PQ=high", "not of the form"), ("AP=1", "there are PQ, SQ, RQ")],
)
def test_a_wrong_threshold_is_a_mistake(
    panoptic: list[str | Path], capsys: pytest.CaptureFixture[str], threshold: str, message: str
) -> None:
    assert _evaluate(*panoptic, "--fail-under", threshold) == 2
    assert message in capsys.readouterr().err


def test_a_missing_file_is_a_mistake(
    panoptic: list[str | Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "found/masks/0.png").unlink()
    assert _evaluate(*panoptic) == 2
    assert "0.png does not exist" in capsys.readouterr().err


def test_label_maps_are_compared(semantic: list[str | Path], tmp_path: Path) -> None:
    json_file = tmp_path / "out.json"
    assert _evaluate(*semantic, "--json", json_file) == 0
    content = json.loads(json_file.read_text())
    # road: 2 of 3; sky: 1 of 2; the last pixel is ignored.
    assert content["per_category"]["road"]["IoU"] == pytest.approx(200 / 3)
    assert content["summary"]["mIoU"] == pytest.approx((200 / 3 + 50) / 2)
    assert content["summary"]["pACC"] == 75


def test_boundaries_and_distances_of_label_maps(
    semantic: list[str | Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    json_file = tmp_path / "out.json"
    chosen = ("--metric", "boundary_f1", "--metric", "surface_distance", "--spacing", "3", "0.5")
    assert _evaluate(*semantic, *chosen, "--json", json_file) == 0
    content = json.loads(json_file.read_text())
    # sky is two pixels, the right one of which is missed: one pixel of 0.5 mm.
    assert content["per_category"]["sky"]["HD"] == 0.5
    assert content["summary"]["mBF1"] > 0
    worst = content["worst_images"]["mHD"]
    assert [image["file_name"] for image in worst] == [str(tmp_path / "found/a.png")]
    assert _evaluate(*semantic, "--metric", "boundary") == 2
    assert "names 'boundary'; known: boundary_f1" in capsys.readouterr().err


@pytest.mark.parametrize(("threshold", "status"), [("sky/IoU=50", 0), ("sky/IoU=50.1", 1)])
def test_thresholds_of_one_category(
    semantic: list[str | Path], threshold: str, status: int
) -> None:
    assert _evaluate(*semantic, "--fail-under", threshold) == status


def test_an_undefined_metric_is_below_every_threshold(
    semantic: list[str | Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (5, 1), 255).save(tmp_path / "truth/a.png")
    assert _evaluate(*semantic, "--fail-under", "mIoU=0") == 1
    assert "The truth labels no pixel" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "labels", "message"),
    [
        ("found/a.png", [[0, 0, 1, 7, 0]], r"prediction has the unknown categories [7]; 2 are"),
        ("truth/a.png", [[0, 9, 1, 1, 255]], "truth has the unknown categories [9]"),
        ("found/a.png", [[0, 0]], "found/a.png: has the size (1, 2), the truth (1, 5)"),
        ("truth/b.png", [[0]], "truth/b.png: has no counterpart in"),
        ("found/b.png", [[0]], "found/b.png: has no counterpart in"),
        ("found/a.png", [[[0, 0, 0]] * 5], "has the shape (1, 5, 3)"),
    ],
)
def test_wrong_label_maps_are_named(
    semantic: list[str | Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    file: str,
    labels: list[Any],
    message: str,
) -> None:
    Image.fromarray(np.array(labels, dtype=np.uint8)).save(tmp_path / file)
    assert _evaluate(*semantic) == 2
    assert message in capsys.readouterr().err


def test_results_are_compared_with_instances(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = {"image_id": 0, "category_id": 1, "bbox": [0, 0, 40, 40]}
    truth = {
        "images": [{"id": 0, "height": 50, "width": 50}],
        "annotations": [{**entry, "id": 1, "area": 1600}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    sides = ("--truth", tmp_path / "truth.json", "--predictions", tmp_path / "found.json")
    sides[1].write_text(json.dumps(truth))
    sides[3].write_text(json.dumps([{**entry, "score": 0.5}]))
    assert _evaluate("instances", *sides, "--fail-under", "AP=99.9") == 0
    assert "APs is undefined (NaN; pycocotools prints -1)" in capsys.readouterr().out
    assert _evaluate("instances", *sides, "--max-detections", "0") == 2
    assert "at least one has to count" in capsys.readouterr().err


# One image: every drawn data set is the data set.
def test_intervals_of_pq_are_metrics_of_their_own(panoptic: list[str | Path]) -> None:
    assert _evaluate(*panoptic, "--bootstrap", "20", "--fail-under", "PQ_low=66") == 0
    assert _evaluate(*panoptic, "--bootstrap", "20", "--fail-under", "PQ_high=67") == 1


def test_intervals_enclose_the_miou(semantic: list[str | Path], tmp_path: Path) -> None:
    json_file = tmp_path / "out.json"
    assert _evaluate(*semantic, "--bootstrap", "20", "--json", json_file) == 0
    summary = json.loads(json_file.read_text())["summary"]
    assert summary["mIoU_low"] == summary["mIoU_high"] == pytest.approx(summary["mIoU"])


def test_other_predictions_are_compared_on_the_same_images(
    panoptic: list[str | Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The truth itself is the better prediction.
    truth = tmp_path / "truth/panoptic.json"
    arguments = ("--compare", truth, "--compare-masks", truth.parent / "masks")
    assert _evaluate(*panoptic, *arguments, "--bootstrap", 10) == 0
    printed = capsys.readouterr().out
    assert "PQ_difference_low" in printed
    assert "panoptic.json is 100.000, +33.333; 95 % of the drawn data sets give" in printed
    assert _evaluate(*panoptic, "--compare", truth) == 2
    assert "--compare and --compare-masks belong together" in capsys.readouterr().err


def test_other_label_maps_are_compared_on_the_same_images(
    semantic: list[str | Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    json_file, other = tmp_path / "out.json", tmp_path / "other"
    other.mkdir()
    Image.fromarray(np.array([[0, 0, 1, 1, 0]], dtype=np.uint8)).save(other / "a.png")
    arguments = ("--compare", other, "--bootstrap", 10, "--json", json_file)
    assert _evaluate(*semantic, *arguments) == 0
    summary = json.loads(json_file.read_text())["summary"]
    # road 2 of 3 and sky 1 of 2 against all; one image, so every draw is the set.
    difference = 100 - (200 / 3 + 50) / 2
    keys = ("mIoU_other", "mIoU_difference", "mIoU_difference_low", "mIoU_difference_high")
    assert [summary[key] for key in keys] == pytest.approx([100, *[difference] * 3])
    assert "other is 100.000, +41.667; 95 % of the drawn" in capsys.readouterr().out
    (other / "a.png").rename(other / "b.png")
    assert _evaluate(*semantic, "--compare", other) == 2
    assert "a.png: has no counterpart in" in capsys.readouterr().err


def test_runs_are_compared_from_their_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from seg_projects.evaluation.image_states import SemanticStates, write_states

    for name, right in (("first", 5), ("second", 10)):
        folder = tmp_path / name / "inference/val"
        folder.mkdir(parents=True)
        pixels = np.full((4, 3, 1), 10)
        pixels[:, 0] = right
        write_states(folder / "semantic_images.npz", SemanticStates(np.arange(4), pixels))
    assert _evaluate("runs", tmp_path / "first", tmp_path / "second", "--samples", 20) == 0
    [line] = [row for row in capsys.readouterr().out.splitlines() if "mIoU" in row]
    cells = [cell.strip() for cell in line.split("|")[3:7]]
    assert cells == ["33.333", "100.000", "66.667", "66.667"]
    assert _evaluate("runs", tmp_path / "first", tmp_path / "absent") == 2


def test_a_place_that_cannot_be_written_is_named_before_the_work(
    panoptic: list[str | Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _evaluate(*panoptic, "--csv", tmp_path / "none/scores.csv") == 2
    assert f"the folder {tmp_path / 'none'} does not exist" in capsys.readouterr().err
    assert _evaluate(*panoptic, "--json", tmp_path) == 2
    assert "is a folder; name a file in it" in capsys.readouterr().err
    assert _evaluate(*panoptic, "--fail-under", "PQ=nan") == 2
    with pytest.raises(SystemExit):
        _evaluate(*panoptic, "--bootstrap", "-3")
    assert "'-3' is not a number of data sets, 0 or more" in capsys.readouterr().err
