"""The panoptic evaluator."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden import Golden
from PIL import Image

from detectron2.data.catalog import MetadataCatalog
from detectron2.evaluation import COCOPanopticEvaluator
from detectron2.utils import comm

NAME = "panoptic_evaluation_test"
INPUTS = [{"file_name": f"x/{k}.jpg", "image_id": k} for k in range(2)]


class Case:
    """The recorded case as files; its predictions in both forms."""

    def __init__(self, folder: Path) -> None:
        self.golden = Golden("panoptic_evaluator")
        self.folder = folder
        params = self.golden.params
        (folder / "gt").mkdir()
        for k in range(2):
            ids = self.golden.input_array(f"gt_{k}")
            rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1)
            Image.fromarray(rgb.astype(np.uint8)).save(folder / "gt" / f"{k}.png")
        self.truth = {
            "images": [{"id": k, "file_name": f"{k}.jpg"} for k in range(2)],
            "annotations": [
                {"image_id": k, "file_name": f"{k}.png", "segments_info": segments}
                for k, segments in enumerate(params["gt_segments"])
            ],
            "categories": params["categories"],
        }
        self.write()
        MetadataCatalog.get(NAME).set(
            panoptic_json=str(folder / "gt.json"),
            panoptic_root=str(folder / "gt"),
            thing_dataset_id_to_contiguous_id=dict(params["thing"]),
            stuff_dataset_id_to_contiguous_id=dict(params["stuff"]),
            label_divisor=1000,
        )

    def write(self) -> None:
        (self.folder / "gt.json").write_text(json.dumps(self.truth))

    def segments(self) -> list[dict[str, Any]]:
        infos = self.golden.params["pred_segments"]
        return [{"panoptic_seg": (self.golden.input(f"pred_{k}"), infos[k])} for k in range(2)]

    def labels(self) -> list[dict[str, Any]]:
        return [{"panoptic_seg": (self.golden.input(f"div_{k}"), None)} for k in range(2)]

    def evaluated(self, outputs: list[dict[str, Any]], **options: Any) -> dict[str, float]:
        evaluator = COCOPanopticEvaluator(NAME, **options)
        evaluator.process(INPUTS, outputs)
        results = evaluator.evaluate()
        assert results is not None
        return results["panoptic_seg"]


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    yield Case(tmp_path)
    MetadataCatalog.pop(NAME, None)


@pytest.mark.parametrize(
    ("form", "result", "file"),
    [("segments", "result", "file_pred"), ("labels", "result_divisor", "file_div")],
)
def test_results_and_file_are_the_recorded_ones(
    case: Case, form: str, result: str, file: str
) -> None:
    folder = case.folder / "out"
    metrics = case.evaluated(getattr(case, form)(), output_dir=str(folder))
    case.golden.check_json(result, metrics)
    content = json.loads((folder / "predictions.json").read_text())
    case.golden.check_json(
        file,
        {
            "files": [path.name for path in folder.iterdir()],
            "keys": sorted(content),
            "ann": content["annotations"],
        },
    )


def test_outputs_are_left_alone(case: Case) -> None:
    for outputs in (case.segments(), case.labels()):
        before = json.dumps([o["panoptic_seg"][1] for o in outputs])
        maps = [o["panoptic_seg"][0].clone() for o in outputs]
        case.evaluated(outputs)
        assert json.dumps([o["panoptic_seg"][1] for o in outputs]) == before
        assert all(torch.equal(o["panoptic_seg"][0], m) for o, m in zip(outputs, maps, strict=True))


def test_void_labels_are_no_segments(case: Case) -> None:
    outputs = [{"panoptic_seg": (torch.full((50, 70), -1), None)}] * 2
    metrics = case.evaluated(outputs, output_dir=str(case.folder))
    assert metrics["PQ"] == 0
    predictions = json.loads((case.folder / "predictions.json").read_text())
    assert all(not a["segments_info"] for a in predictions["annotations"])


def test_perfect_predictions_score_100(case: Case) -> None:
    outputs = []
    for annotation in case.truth["annotations"]:
        ids = case.golden.input(f"gt_{annotation['image_id']}")
        # Without "isthing" the category ids are the data set's own.
        infos = [{k: s[k] for k in ("id", "category_id")} for s in annotation["segments_info"]]
        outputs.append({"panoptic_seg": (ids, infos)})
    assert case.evaluated(outputs)["PQ"] == pytest.approx(100)


@pytest.mark.parametrize(("isthing", "empty"), [(1, "_st"), (0, "_th")])
def test_only_things_or_only_stuff_gives_nan_for_the_other(
    case: Case, isthing: int, empty: str
) -> None:
    kept = {c["id"] for c in case.truth["categories"] if c["isthing"] == isthing}
    case.truth["categories"] = [c for c in case.truth["categories"] if c["id"] in kept]
    for annotation in case.truth["annotations"]:
        infos = annotation["segments_info"]
        annotation["segments_info"] = [s for s in infos if s["category_id"] in kept]
    case.write()
    outputs = []
    for output in case.segments():
        panoptic, infos = output["panoptic_seg"]
        infos = [s for s in infos if s["isthing"] == bool(isthing)]
        ids = torch.tensor([s["id"] for s in infos])
        outputs.append({"panoptic_seg": (panoptic * torch.isin(panoptic, ids), infos)})
    metrics = case.evaluated(outputs)
    assert math.isnan(metrics[f"PQ{empty}"])
    assert metrics["PQ"] > 0


def test_ranks_are_merged_and_images_count_once(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, evaluator = COCOPanopticEvaluator(NAME), COCOPanopticEvaluator(NAME)
    outputs = case.segments()
    other.process(INPUTS, outputs)
    evaluator.process(INPUTS[:1], outputs[:1])
    monkeypatch.setattr(comm, "gather", lambda data, dst: [data, other._counts])
    results = evaluator.evaluate()
    assert results is not None
    case.golden.check_json("result", results["panoptic_seg"])
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    assert evaluator.evaluate() is None


def test_reset_forgets(case: Case) -> None:
    evaluator = COCOPanopticEvaluator(NAME)
    evaluator.process(INPUTS, case.segments())
    evaluator.reset()
    with pytest.raises(ValueError, match=r"2 of the 2 images.*have no prediction"):
        evaluator.evaluate()


def test_images_without_ground_truth_do_not_count(case: Case) -> None:
    extra = {"file_name": "x/7.jpg", "image_id": 7}
    evaluator = COCOPanopticEvaluator(NAME)
    evaluator.process([*INPUTS, extra], [*case.labels(), case.labels()[0]])
    results = evaluator.evaluate()
    assert results is not None
    case.golden.check_json("result_divisor", results["panoptic_seg"])


def test_missing_ground_truth_is_named(case: Case) -> None:
    (case.folder / "gt" / "1.png").unlink()
    with pytest.raises(FileNotFoundError, match=f"1.png of the data set '{NAME}'"):
        case.evaluated(case.segments())
    (case.folder / "gt.json").unlink()
    with pytest.raises(FileNotFoundError, match=f"gt.json of the data set '{NAME}'"):
        case.evaluated(case.segments())


def test_classes_outside_the_data_set_raise(case: Case) -> None:
    outputs = case.segments()
    outputs[0]["panoptic_seg"][1][0]["category_id"] = 77
    with pytest.raises(KeyError, match="segment has class 77"):
        case.evaluated(outputs)


def test_segments_missing_from_the_list_raise(case: Case) -> None:
    outputs = case.segments()
    outputs[0]["panoptic_seg"][1].pop()
    with pytest.raises(KeyError, match="they must be the same"):
        case.evaluated(outputs)
