"""Average precision by COCO's definition."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from golden import Golden, check_json

from detectron2.config import get_cfg
from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.evaluation import COCOEvaluator
from detectron2.evaluation.coco_evaluation import COCOevalMaxDets, instances_to_coco_json
from detectron2.evaluation.proposal_recall import proposal_recall
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils import comm

NAME = "coco_evaluation_test"
DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "coco_eval_reference"
IMAGES = [{"image_id": 5}, {"image_id": 6}]


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    DatasetCatalog.pop(NAME, None)
    MetadataCatalog.pop(NAME, None)


@pytest.fixture
def golden(tmp_path: Path) -> Golden:
    """The recorded case, its ground truth registered under NAME."""
    case = Golden("coco_evaluator")
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(case.params["gt"]))
    register_coco_instances(NAME, {}, str(path), "root")
    DatasetCatalog.get(NAME)  # Sets the classes.
    return case


def recorded_instances(golden: Golden, k: int, masks: bool = True) -> Instances:
    instances = Instances(tuple(golden.params["size"]))
    instances.pred_boxes = Boxes(golden.input(f"boxes_{k}"))
    instances.scores = golden.input(f"scores_{k}")
    instances.pred_classes = golden.input(f"classes_{k}")
    if masks:
        instances.pred_masks = golden.input(f"masks_{k}")
    return instances


def outputs(golden: Golden, masks: bool = True) -> list[dict[str, Any]]:
    return [{"instances": recorded_instances(golden, k, masks)} for k in range(2)]


def evaluated(predictions: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    evaluator = COCOEvaluator(NAME, distributed=False, **options)
    evaluator.reset()
    evaluator.process(IMAGES, predictions)
    results = evaluator.evaluate()
    assert results is not None
    return results


@pytest.mark.parametrize("fast", [False, True])
def test_results_are_the_recorded_ones(golden: Golden, fast: bool) -> None:
    if fast:
        pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is optional")
    results = evaluated(outputs(golden), tasks=("bbox", "segm"), use_fast_impl=fast)
    golden.check_json("result", results)
    assert sorted(results) == golden.json("facts")["tasks"]


def test_records_are_the_recorded_ones(golden: Golden) -> None:
    records = instances_to_coco_json(recorded_instances(golden, 0), 5)
    facts = golden.json("facts")
    rle = records[0]["segmentation"]
    assert sorted(rle) == facts["rle_keys"]
    assert type(rle["counts"]).__name__ == facts["counts_type"]
    assert [type(side).__name__ for side in records[0]["bbox"]] == facts["box_types"]
    for record in records:
        del record["segmentation"]
    golden.check_json("records0", records)


def test_conversion_leaves_its_input_alone(golden: Golden) -> None:
    instances = recorded_instances(golden, 0)
    instances_to_coco_json(instances, 5)
    assert torch.equal(instances.pred_boxes.tensor, golden.input("boxes_0"))


def test_no_instances_give_no_records() -> None:
    instances = Instances((4, 5), pred_boxes=Boxes(torch.zeros(0, 4)))
    assert instances_to_coco_json(instances, 5) == []


def test_files_are_the_recorded_ones(golden: Golden, tmp_path: Path) -> None:
    evaluated(outputs(golden), output_dir=str(tmp_path / "out"))
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == golden.json("facts")["files"]
    detections = json.loads((tmp_path / "out" / "coco_instances_results.json").read_text())
    assert {d["category_id"] for d in detections} == {1, 7}
    kept = torch.load(tmp_path / "out" / "instances_predictions.pth", weights_only=True)
    assert [p["image_id"] for p in kept] == [5, 6]
    assert {d["category_id"] for p in kept for d in p["instances"]} == {0, 1}


def test_no_predictions_give_no_results(golden: Golden, caplog: pytest.LogCaptureFixture) -> None:
    evaluator = COCOEvaluator(NAME, distributed=False)
    evaluator.reset()
    assert evaluator.evaluate() == golden.json("facts")["no_predictions"]
    assert "no predictions" in caplog.text


def test_tasks_follow_from_the_predictions(golden: Golden) -> None:
    assert list(evaluated(outputs(golden))) == ["bbox", "segm"]
    assert list(evaluated(outputs(golden, masks=False))) == ["bbox"]


def test_a_config_in_the_place_of_the_tasks_means_the_default(golden: Golden) -> None:
    evaluator = COCOEvaluator(NAME, get_cfg(), False)
    evaluator.process(IMAGES, outputs(golden))
    results = evaluator.evaluate()
    assert results is not None
    assert list(results) == ["bbox", "segm"]


def test_images_without_detections_give_nan(golden: Golden) -> None:
    empty = Instances((100, 140), pred_boxes=Boxes(torch.zeros(0, 4)))
    results = evaluated([{"instances": empty}] * 2, tasks=("bbox",))
    assert list(results["bbox"]) == ["AP", "AP50", "AP75", "APs", "APm", "APl"]
    assert all(math.isnan(value) for value in results["bbox"].values())


def test_nan_and_classes_are_explained_in_the_log(
    golden: Golden, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="detectron2"):
        evaluated(outputs(golden), tasks=("bbox",))
    assert "NaN: the data set has no object of that size" in caplog.text
    assert "| cat" in caplog.text


def test_evaluation_can_be_limited_to_some_images(golden: Golden) -> None:
    evaluator = COCOEvaluator(NAME, ("bbox",), distributed=False)
    evaluator.reset()
    evaluator.process(IMAGES, outputs(golden))
    everything, one = evaluator.evaluate(), evaluator.evaluate(img_ids=[5])
    assert everything is not None
    assert one is not None
    assert one["bbox"]["AP"] != everything["bbox"]["AP"]


def test_a_detection_limit_drops_the_worst(golden: Golden) -> None:
    best: list[dict[str, Any]] = []
    for output in outputs(golden):
        instances = output["instances"]
        # The limit holds for each class.
        keep = torch.cat(
            [
                torch.nonzero(instances.pred_classes == k)[:, 0][
                    instances.scores[instances.pred_classes == k].argsort(descending=True)[:2]
                ]
                for k in range(2)
            ]
        )
        best.append({"instances": instances[keep]})
    limited = evaluated(outputs(golden), max_dets_per_image=2)
    check_json("limited", limited, json.loads(json.dumps(evaluated(best)).replace("NaN", '"nan"')))
    assert limited["bbox"]["AP"] < evaluated(outputs(golden))["bbox"]["AP"]


def test_ranks_are_merged(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = outputs(golden)
    other = COCOEvaluator(NAME, ("bbox", "segm"))
    other.reset()
    other.process(IMAGES[1:], [second])
    evaluator = COCOEvaluator(NAME, ("bbox", "segm"))
    evaluator.reset()
    evaluator.process(IMAGES[:1], [first])
    monkeypatch.setattr(comm, "gather", lambda data, dst: [data, other._predictions])
    golden.check_json("result", evaluator.evaluate())
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    assert evaluator.evaluate() == {}


def test_classes_outside_the_data_set_raise(golden: Golden) -> None:
    wrong = outputs(golden)
    wrong[0]["instances"].pred_classes[0] = 2
    with pytest.raises(AssertionError, match="class 2, but coco_evaluation_test has the classes 0"):
        evaluated(wrong)


@pytest.mark.parametrize("options", [{"tasks": ("keypoints",)}, {"kpt_oks_sigmas": (0.1,)}])
def test_unsupported_options_raise(golden: Golden, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="keypoints"):
        COCOEvaluator(NAME, **options)


def test_missing_ground_truth_is_named(tmp_path: Path) -> None:
    MetadataCatalog.get(NAME).json_file = str(tmp_path / "no.json")
    with pytest.raises(FileNotFoundError, match=f"no.json of the data set '{NAME}'"):
        COCOEvaluator(NAME)


def test_a_test_set_without_annotations_gets_its_file(golden: Golden, tmp_path: Path) -> None:
    path = Path(MetadataCatalog.get(NAME).json_file)
    content = json.loads(path.read_text())
    del content["annotations"]
    path.write_text(json.dumps(content))
    assert evaluated(outputs(golden), output_dir=str(tmp_path), use_fast_impl=False) == {}
    assert (tmp_path / "coco_instances_results.json").is_file()


def test_another_format_is_converted_first(golden: Golden, tmp_path: Path) -> None:
    records = DatasetCatalog.get(NAME)
    classes = MetadataCatalog.get(NAME).thing_classes
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)
    DatasetCatalog.register(NAME, lambda: records)
    MetadataCatalog.get(NAME).thing_classes = classes
    with pytest.raises(ValueError, match="output_dir"):
        COCOEvaluator(NAME)
    golden.check_json("result", evaluated(outputs(golden), output_dir=str(tmp_path)))
    assert (tmp_path / f"{NAME}_coco_format.json").is_file()


def one_box_proposals(boxes: list[list[float]]) -> Instances:
    scores = torch.arange(len(boxes), 0, -1).float()
    tensor = torch.tensor(boxes).reshape(-1, 4)
    return Instances((99, 99), proposal_boxes=Boxes(tensor), objectness_logits=scores)


def test_proposal_recall_counts_matched_objects() -> None:
    truth = [
        {"bbox": [0, 0, 10, 10], "area": 100},
        {"bbox": [50, 50, 40, 40], "area": 1600},
    ]
    # The first object is found with IoU 0.82: right for the thresholds 0.5 to 0.8, seven of ten.
    found = one_box_proposals([[0, 0, 10, 8.2], [0, 0, 10, 7]])
    recalls = proposal_recall([found], [truth])
    assert recalls["ARs@100"] == pytest.approx(70)
    assert recalls["ARm@100"] == 0
    assert recalls["AR@1000"] == pytest.approx(35)
    assert math.isnan(recalls["ARl@100"])


def test_a_proposal_matches_one_object() -> None:
    box = {"bbox": [0, 0, 10, 10], "area": 100}
    recalls = proposal_recall([one_box_proposals([[0, 0, 10, 10]])], [[box, box]])
    assert recalls["AR@100"] == pytest.approx(50)


def test_images_without_proposals_lower_the_recall() -> None:
    box = {"bbox": [0, 0, 10, 10], "area": 100}
    full, empty = one_box_proposals([[0, 0, 10, 10]]), one_box_proposals([])
    recalls = proposal_recall([full, empty], [[box], [box]])
    assert recalls["AR@100"] == pytest.approx(50)


def test_proposals_are_evaluated(golden: Golden) -> None:
    truth = DatasetCatalog.get(NAME)
    predictions = []
    for record in truth:
        boxes = torch.tensor([a["bbox"] for a in record["annotations"]])
        boxes = BoxMode.convert(boxes, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
        predictions.append({"proposals": one_box_proposals(boxes.tolist())})
    results = evaluated(predictions)
    assert results["box_proposals"]["AR@100"] == pytest.approx(100)


@pytest.mark.skipif(not DATA.is_dir(), reason="sample data are absent (../shared/data)")
@pytest.mark.parametrize(
    ("task", "expected"), [("segm", (0.320, 0.562, 0.299)), ("bbox", (0.505, 0.697, 0.573))]
)
def test_published_reference_is_reproduced(task: str, expected: tuple[float, ...]) -> None:
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(DATA / "instances_val2014_100.json"))
        found = truth.loadRes(str(DATA / f"instances_val2014_fake{task}100_results.json"))
        evaluation = COCOevalMaxDets(truth, found, task)
        evaluation.evaluate()
        evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[:3] == pytest.approx(expected, abs=5e-4)
    assert len(evaluation.stats) == 12


def test_summary_needs_an_evaluation() -> None:
    with pytest.raises(RuntimeError, match=r"accumulate\(\) first"):
        COCOevalMaxDets(iouType="bbox").summarize()
