"""Average precision by the definition of PASCAL VOC."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_pascal_voc
from detectron2.evaluation import PascalVOCDetectionEvaluator
from detectron2.evaluation.pascal_voc_evaluation import parse_rec, voc_ap, voc_eval
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm

NAME = "voc_evaluation_test"
INPUTS = [{"image_id": "1"}, {"image_id": "2"}]


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    parse_rec.cache_clear()
    DatasetCatalog.pop(NAME, None)
    MetadataCatalog.pop(NAME, None)


def item(name: str, box: tuple[int, ...], difficult: int = 0) -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    corners = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    return (
        f"<object><name>{name}</name><pose>Left</pose><truncated>1</truncated>"
        f"<difficult>{difficult}</difficult><bndbox>{corners}</bndbox></object>"
    )


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Image 1: two cats, one of them difficult, and a dog; image 2: a cat."""
    for folder in ("Annotations", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "ImageSets/Main/val.txt").write_text("1\n2\n")
    first = (
        item("cat", (1, 1, 10, 10)) + item("cat", (31, 1, 40, 10), 1) + item("dog", (1, 1, 9, 9))
    )
    for name, objects in (("1", first), ("2", item("cat", (1, 1, 10, 10)))):
        (tmp_path / f"Annotations/{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    return tmp_path


def instances(rows: list[tuple[list[float], float, int]]) -> Instances:
    boxes, scores, classes = zip(*rows, strict=True) if rows else ([], [], [])
    return Instances(
        (50, 50),
        pred_boxes=Boxes(torch.tensor(boxes).reshape(-1, 4)),
        scores=torch.tensor(scores),
        pred_classes=torch.tensor(classes),
    )


CAT, DIFFICULT, NOTHING = [0.0, 0, 10, 10], [30.0, 0, 40, 10], [20.0, 20, 30, 30]
PREDICTIONS = [
    # The difficult cat counts neither way; the second box on the same cat is wrong.
    instances([(CAT, 0.9, 0), (DIFFICULT, 0.8, 0), (CAT, 0.7, 0)]),
    instances([(CAT, 0.6, 0)]),
]


def evaluator(voc: Path, year: int) -> PascalVOCDetectionEvaluator:
    register_pascal_voc(NAME, str(voc), "val", year, ["cat", "dog"])
    return PascalVOCDetectionEvaluator(NAME)


# Cats: right, not counted, wrong, right: precisions 1, 1, 1/2, 2/3 at recalls 1/2, 1/2, 1/2, 1.
# Dogs are never found. Below the curve: 1/2 + 1/2 * 2/3; at 11 recalls: 6 times 1, 5 times 2/3.
@pytest.mark.parametrize(("year", "cats"), [(2012, 5 / 6), (2007, (6 + 5 * 2 / 3) / 11)])
def test_ap_follows_the_years_definition(voc: Path, year: int, cats: float) -> None:
    voc_evaluator = evaluator(voc, year)
    voc_evaluator.process(INPUTS, [{"instances": p} for p in PREDICTIONS])
    results = voc_evaluator.evaluate()
    assert results is not None
    assert results["bbox"] == pytest.approx(dict.fromkeys(("AP", "AP50", "AP75"), 50 * cats))


def test_ranks_are_merged(voc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voc_evaluator = evaluator(voc, 2012)
    voc_evaluator.process(INPUTS[1:], [{"instances": PREDICTIONS[1]}])
    other = {k: [*lines] for k, lines in voc_evaluator._lines.items()}
    voc_evaluator.reset()
    voc_evaluator.process(INPUTS[:1], [{"instances": PREDICTIONS[0]}])
    monkeypatch.setattr(comm, "gather", lambda data, dst: [data, other])
    results = voc_evaluator.evaluate()
    assert results is not None
    assert results["bbox"]["AP"] == pytest.approx(50 * 5 / 6)
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    assert voc_evaluator.evaluate() is None


def test_no_predictions_score_zero(voc: Path) -> None:
    results = evaluator(voc, 2012).evaluate()
    assert results == {"bbox": {"AP": 0, "AP50": 0, "AP75": 0}}


def test_unknown_year_is_refused(voc: Path) -> None:
    with pytest.raises(AssertionError, match="year=2009"):
        evaluator(voc, 2009)


@pytest.mark.parametrize(("threshold", "found"), [(0.49, 1.0), (0.5, 0.0)])
def test_overlap_must_exceed_the_threshold(voc: Path, threshold: float, found: float) -> None:
    # Pixels 1 to 5 of the cat's 1 to 10, in both images: IoU one half.
    (voc / "cat.txt").write_text("1 0.9 1 1 5 10\n2 0.8 1 1 5 10\n")
    recall, precision, ap = voc_eval(
        str(voc / "{}.txt"),
        str(voc / "Annotations/{}.xml"),
        str(voc / "ImageSets/Main/val.txt"),
        "cat",
        ovthresh=threshold,
    )
    assert recall[-1] == precision[-1] == ap == found


def test_annotations_are_parsed(voc: Path) -> None:
    first, second, _ = parse_rec(str(voc / "Annotations/1.xml"))
    assert first == {
        "name": "cat",
        "pose": "Left",
        "truncated": 1,
        "difficult": 0,
        "bbox": [1, 1, 10, 10],
    }
    assert second["difficult"] == 1


def test_ap_of_a_curve() -> None:
    recall, precision = np.array([0.5, 1.0]), np.array([0.4, 0.8])
    # Made monotonic, precision is 0.8 throughout.
    assert voc_ap(recall, precision) == pytest.approx(0.8)
    assert voc_ap(recall, precision, use_07_metric=True) == pytest.approx(0.8)
    assert voc_ap(np.zeros(0), np.zeros(0)) == 0
    assert not math.isnan(voc_ap(np.zeros(0), np.zeros(0), use_07_metric=True))
