"""The evaluators that hand their predictions to cityscapesScripts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from detectron2.data.catalog import MetadataCatalog
from detectron2.evaluation import CityscapesInstanceEvaluator, CityscapesSemSegEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm

NAME = "cityscapes_evaluation_test"
INPUT = {"file_name": "x/aa_000001_000019_leftImg8bit.png"}


@pytest.fixture(autouse=True)
def _data_set(tmp_path: Path) -> Iterator[None]:
    (tmp_path / "gt" / "aa").mkdir(parents=True)
    for name in ("instanceIds", "labelIds"):
        (tmp_path / "gt" / "aa" / f"aa_000001_000019_gtFine_{name}.png").touch()
    classes = ["person", "rider", "car"]
    MetadataCatalog.get(NAME).set(gt_dir=str(tmp_path / "gt"), thing_classes=classes)
    yield
    MetadataCatalog.pop(NAME, None)


class Script(ModuleType):
    """Stands for one of cityscapesScripts' modules and records how it is called."""

    def __init__(self, name: str, results: dict[str, Any]) -> None:
        super().__init__(name)
        self.args = SimpleNamespace()
        self.results = results
        self.calls: list[Any] = []

    def getPrediction(self, groundTruthFile: str, args: SimpleNamespace) -> str:  # noqa: N802, N803
        folder = Path(args.predictionPath)
        assert folder.is_dir()
        return "prediction of " + Path(groundTruthFile).name

    def evaluateImgLists(self, predictions: list, truth: list, args: Any) -> dict:  # noqa: N802
        self.calls.append((predictions, [Path(path).name for path in truth]))
        assert np.in1d([1], [1])  # type: ignore[attr-defined] # noqa: NPY201 - as the scripts do
        self.writeDict2JSON({}, "matches.json")
        return self.results

    def writeDict2JSON(self, content: dict, name: str) -> None:  # noqa: N802
        raise AssertionError("the scripts must not write into the current folder")


def install(monkeypatch: pytest.MonkeyPatch, name: str, results: dict[str, Any]) -> Script:
    module = Script(f"cityscapesscripts.evaluation.{name}", results)
    for package in ("cityscapesscripts", "cityscapesscripts.evaluation"):
        monkeypatch.setitem(sys.modules, package, ModuleType(package))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def instances() -> Instances:
    masks = torch.zeros(2, 4, 5, dtype=torch.bool)
    masks[1, 1:3, 2:] = True
    return Instances(
        (4, 5),
        pred_masks=masks,
        scores=torch.tensor([0.5, 0.25]),
        pred_classes=torch.tensor([2, 0]),
    )


def test_instances_are_written_as_the_scripts_want_them() -> None:
    evaluator = CityscapesInstanceEvaluator(NAME)
    evaluator.reset()
    evaluator.process([INPUT], [{"instances": instances()}])
    folder = Path(evaluator._predictions)
    stem = "aa_000001_000019_leftImg8bit"
    lines = (folder / f"{stem}_pred.txt").read_text().splitlines()
    assert lines == [f"{stem}_0_car.png 26 0.5", f"{stem}_1_person.png 24 0.25"]
    mask = np.asarray(Image.open(folder / f"{stem}_1_person.png"))
    assert (mask == 255 * instances().pred_masks[1].numpy()).all()


def test_images_without_instances_have_an_empty_list() -> None:
    evaluator = CityscapesInstanceEvaluator(NAME)
    evaluator.reset()
    evaluator.process([INPUT], [{"instances": instances()[:0]}])
    (file,) = Path(evaluator._predictions).iterdir()
    assert file.read_text() == ""


def test_instance_results_are_in_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    averages = {"allAp": np.float64(0.25), "allAp50%": np.float64(0.5)}
    script = install(monkeypatch, "evalInstanceLevelSemanticLabeling", {"averages": averages})
    evaluator = CityscapesInstanceEvaluator(NAME)
    evaluator.reset()
    assert evaluator.evaluate() == {"segm": {"AP": 25, "AP50": 50}}
    truth = "aa_000001_000019_gtFine_instanceIds.png"
    assert script.calls == [([f"prediction of {truth}"], [truth])]
    assert not Path(evaluator._predictions).exists()


def test_label_maps_hold_label_ids() -> None:
    scores = torch.zeros(19, 1, 3)
    scores[13, 0, 1] = scores[18, 0, 2] = 1  # Train ids: road, car, bicycle.
    evaluator = CityscapesSemSegEvaluator(NAME)
    evaluator.reset()
    evaluator.process([INPUT], [{"sem_seg": scores}])
    (file,) = Path(evaluator._predictions).iterdir()
    assert np.asarray(Image.open(file)).tolist() == [[7, 26, 33]]


def test_semantic_results_are_in_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("Classes", "InstClasses", "Categories", "InstCategories")
    results = {f"averageScore{name}": k / 10 for k, name in enumerate(names, 1)}
    install(monkeypatch, "evalPixelLevelSemanticLabeling", results)
    evaluator = CityscapesSemSegEvaluator(NAME)
    evaluator.reset()
    evaluated = evaluator.evaluate()
    expected = {"IoU": 10, "iIoU": 20, "IoU_sup": 30, "iIoU_sup": 40}
    assert evaluated is not None
    assert evaluated["sem_seg"] == pytest.approx(expected)


def test_other_ranks_use_the_folder_of_the_main_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comm, "all_gather", lambda data: [str(tmp_path), data])
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    evaluator = CityscapesSemSegEvaluator(NAME)
    evaluator.reset()
    evaluator.process([INPUT], [{"sem_seg": torch.zeros(19, 2, 2)}])
    assert (tmp_path / "aa_000001_000019_leftImg8bit_pred.png").is_file()
    assert evaluator.evaluate() is None


def test_missing_ground_truth_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "evalPixelLevelSemanticLabeling", {})
    (tmp_path / "gt/aa/aa_000001_000019_gtFine_labelIds.png").unlink()
    evaluator = CityscapesSemSegEvaluator(NAME)
    evaluator.reset()
    with pytest.raises(AssertionError, match=r"no .*labelIds\.png in the folders"):
        evaluator.evaluate()


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cityscapesscripts", None)
    evaluator = CityscapesSemSegEvaluator(NAME)
    evaluator.reset()
    with pytest.raises(ImportError, match="pip install cityscapesscripts"):
        evaluator.evaluate()
