"""Numbers of Detectron2 and panopticapi that are recorded, and those that mislead."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from golden import Golden
from PIL import Image
from tiny_runs import tool_main

from detectron2.data.catalog import Metadata
from detectron2.structures import Boxes, Instances
from seg_projects.evaluation.instances import InstanceEvaluator
from seg_projects.evaluation.panoptic_files import evaluate_panoptic_files
from seg_projects.evaluation.scores import Scores

Segments = list[dict[str, Any]]
Side = tuple[Path, Path]


def _write_side(
    folder: Path, maps: Sequence[np.ndarray], segments: Sequence[Segments], categories: Segments
) -> Side:
    """JSON and PNGs of id maps."""
    (folder / "masks").mkdir(parents=True)
    annotations = []
    for number, (ids, listed) in enumerate(zip(maps, segments, strict=True)):
        rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
        Image.fromarray(rgb).save(folder / f"masks/{number}.png")
        annotations.append(
            {"image_id": number, "file_name": f"{number}.png", "segments_info": listed}
        )
    path = folder / "panoptic.json"
    path.write_text(json.dumps({"annotations": annotations, "categories": categories}))
    return path, folder / "masks"


def _golden_scores(
    tmp_path: Path, maps: Sequence[np.ndarray], segments: Sequence[Segments]
) -> Scores:
    golden = Golden("panoptic_evaluator")
    params = golden.params
    truth = [golden.input_array(f"gt_{i}").astype(np.int64) for i in range(2)]
    sides = [
        *_write_side(tmp_path / "truth", truth, params["gt_segments"], params["categories"]),
        *_write_side(tmp_path / "found", maps, segments, params["categories"]),
    ]
    return evaluate_panoptic_files(*sides)


def _dataset_ids() -> dict[int, int]:
    params = Golden("panoptic_evaluator").params
    return {label: category for category, label in params["thing"] + params["stuff"]}


def test_segments_have_the_pq_of_detectron2s_evaluator(tmp_path: Path) -> None:
    golden, ids = Golden("panoptic_evaluator"), _dataset_ids()
    segments = [
        [segment | {"category_id": ids[segment["category_id"]]} for segment in listed]
        for listed in golden.params["pred_segments"]
    ]
    maps = [golden.input_array(f"pred_{i}").astype(np.int64) for i in range(2)]
    summary = _golden_scores(tmp_path, maps, segments).summary
    assert summary == pytest.approx(golden.json("result"), rel=1e-12)


def test_labels_with_a_divisor_have_the_pq_of_detectron2s_evaluator(tmp_path: Path) -> None:
    golden, ids = Golden("panoptic_evaluator"), _dataset_ids()
    # One more than the label, so that 0 stays void.
    maps = [golden.input_array(f"div_{i}").astype(np.int64) + 1 for i in range(2)]
    segments = [
        [{"id": i, "category_id": ids[(i - 1) // 1000]} for i in np.unique(ids_map).tolist() if i]
        for ids_map in maps
    ]
    summary = _golden_scores(tmp_path, maps, segments).summary
    assert summary == pytest.approx(golden.json("result_divisor"), rel=1e-12)


def _instance_truth(content: Mapping[str, Any]) -> Any:
    """What :class:`InstanceEvaluator` asks a data set for."""
    metadata = Metadata(
        thing_classes=[c["name"] for c in content["categories"]],
        thing_dataset_id_to_contiguous_id={c["id"]: n for n, c in enumerate(content["categories"])},
    )
    height, width = Golden("coco_evaluator").params["size"]

    def annotations(image_id: int) -> list[dict[str, Any]]:
        from seg_projects.evaluation.instance_truth import with_compressed_mask

        chosen = [a for a in content["annotations"] if a["image_id"] == image_id]
        return [with_compressed_mask(a, (height, width)) for a in chosen]

    return SimpleNamespace(metadata=metadata, instance_annotations=annotations, file_name=str)


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_instances_have_the_ap_of_detectron2s_evaluator(task: str) -> None:
    golden = Golden("coco_evaluator")
    evaluator = InstanceEvaluator(_instance_truth(golden.params["gt"]))
    for number, image_id in enumerate((5, 6)):
        found = Instances(tuple(golden.params["size"]))
        found.pred_boxes = Boxes(golden.input(f"boxes_{number}"))
        found.scores = golden.input(f"scores_{number}")
        found.pred_classes = golden.input(f"classes_{number}").long()
        found.pred_masks = golden.input(f"masks_{number}").bool()
        evaluator.process([{"image_id": image_id}], [{"instances": found}])
    results = evaluator.evaluate()
    assert results is not None
    expected = {k: float(v) for k, v in golden.json("result")[task].items()}  # "nan" is a text
    got = {key: results[task][key] for key in expected}
    assert got == pytest.approx(expected, rel=0, abs=1e-10, nan_ok=True)


def test_both_formats_of_panopticapis_sample_are_the_same_truth(
    shared_data: Path, tmp_path: Path
) -> None:
    folder = shared_data / "panopticapi_sample"
    sample = folder / "sample_data"
    arguments = ["two-channels", sample / "panoptic_examples_2ch_format", "--output", tmp_path]
    arguments += ["--images", sample / "input_images"]
    arguments += ["--categories", folder / "panoptic_coco_categories.json"]
    assert tool_main("convert")([str(argument) for argument in arguments]) == 0
    converted = json.loads((tmp_path / "train.json").read_text())
    truth = json.loads((sample / "panoptic_examples.json").read_text())
    ids = {Path(a["file_name"]).stem: a["image_id"] for a in truth["annotations"]}
    by_name = {c["name"]: c["id"] for c in truth["categories"]}
    names = {c["id"]: c["name"] for c in converted["categories"]}
    for annotation in converted["annotations"]:
        annotation["image_id"] = ids[Path(annotation["file_name"]).stem]
        for segment in annotation["segments_info"]:
            segment["category_id"] = by_name[names[segment["category_id"]]]
    path = tmp_path / "renamed.json"
    path.write_text(json.dumps(converted))
    masks = sample / "panoptic_examples"
    scores = evaluate_panoptic_files(
        sample / "panoptic_examples.json", masks, path, tmp_path / "train_masks"
    )
    assert (scores.summary["PQ"], scores.summary["PQ_th"], scores.summary["PQ_st"]) == (100,) * 3


CATEGORIES = [{"id": 8, "name": "dog", "isthing": 1}]


def _pq(stated_area: float, hit: int, whole: int, folder: Path) -> tuple[float, float | None]:
    """Ours and panopticapi's, where it is installed, of a dog of which ``hit`` pixels are found.

    It has ``whole`` pixels, and the truth's JSON states ``stated_area``.
    """
    ids = np.ones((1, whole), dtype=np.int64)
    found = np.where(np.arange(whole) < hit, 1, 0)[None]
    segment = {"id": 1, "category_id": 8, "iscrowd": 0}
    truth = _write_side(folder / "truth", [ids], [[segment | {"area": stated_area}]], [*CATEGORIES])
    other = _write_side(folder / "found", [found], [[segment | {"area": hit}]], [*CATEGORIES])
    ours = evaluate_panoptic_files(*truth, *other).summary["PQ"]
    if not importlib.util.find_spec("panopticapi"):
        return ours, None
    from panopticapi import evaluation

    pairs = [tuple(json.loads(side[0].read_text())["annotations"][0] for side in (truth, other))]
    stat = evaluation.pq_compute_single_core(
        0, pairs, str(truth[1]), str(other[1]), {8: CATEGORIES[0]}
    )
    return ours, 100 * stat.pq_average({8: CATEGORIES[0]}, isthing=None)[0]["pq"]


def test_halved_areas_do_not_give_193(tmp_path: Path) -> None:
    # 193 of 200 pixels are found; with 100 for the area the union is 100 + 193 - 193.
    ours, theirs = _pq(100, 193, 200, tmp_path)
    assert ours == pytest.approx(96.5)
    assert theirs is None or theirs == pytest.approx(193)


def test_areas_from_before_overlaps_do_not_make_a_perfect_prediction_91(tmp_path: Path) -> None:
    # Of an object of 100 pixels another one covers 9; all that is left is found.
    ours, theirs = _pq(100, 91, 91, tmp_path)
    assert ours == 100
    assert theirs is None or theirs == pytest.approx(91)


def test_boundary_iou_of_the_second_class_is_its_own() -> None:
    from seg_projects.evaluation.label_boundaries import boundary_iou_counts

    # Classes 0, 1, 2 in columns; the prediction swaps 1 and 2, and gets all of class 0.
    truth = np.repeat([[0, 0, 1, 1, 2, 2]], 4, axis=0)
    found = np.repeat([[0, 0, 2, 2, 1, 1]], 4, axis=0)
    both, of_truth, of_found = boundary_iou_counts(truth, found, 3)
    assert both.tolist() == [8, 0, 0]
    assert of_truth.tolist() == of_found.tolist() == [8, 8, 8]


def test_a_class_that_the_truth_lacks_costs_in_the_mean_over_the_union() -> None:
    from seg_projects.evaluation.confusion import class_counts, confusion_matrix, mean_scores

    truth, invents = np.zeros((1, 4), int), np.array([[0, 0, 0, 1]])
    scores = mean_scores(class_counts(confusion_matrix(truth, invents, 2)))
    assert (scores["mIoU"], scores["mIoU_union"]) == (75, 37.5)
