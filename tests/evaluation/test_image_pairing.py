"""Images of a prediction file and of the truth, paired by the names of their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seg_projects.evaluation.image_pairing import truth_image_ids
from seg_projects.evaluation.instance_files import evaluate_instance_files

TRUTH = [{"id": 70, "file_name": "b.png"}, {"id": 50, "file_name": "a.png"}]


def test_ids_of_a_prediction_become_those_of_the_truth() -> None:
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]
    assert truth_image_ids(images, TRUTH) == {1: 50, 2: 70}


@pytest.mark.parametrize(
    "images",
    [
        None,
        [{"id": 1}],
        [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "elsewhere/b.png"}],
        [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "a.png"}],
        [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}],
        "a.png",
    ],
)
def test_ids_are_kept_where_names_do_not_tell(images: Any) -> None:
    assert truth_image_ids(images, TRUTH) == {}


def _instances(images: list[dict[str, Any]], boxes: dict[int, list[int]]) -> dict[str, Any]:
    return {
        "images": [image | {"height": 9, "width": 9} for image in images],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": box, "area": 4, "score": 0.5}
            for i, box in boxes.items()
        ],
        "categories": [{"id": 1, "name": "square"}],
    }


def test_annotations_with_scores_are_results(tmp_path: Path) -> None:
    boxes = {"a.png": [0, 0, 2, 2], "b.png": [5, 5, 2, 2]}
    truth = _instances(TRUTH, {image["id"]: boxes[image["file_name"]] for image in TRUTH})
    found = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    predicted = tmp_path / "instances.json"
    predicted.write_text(json.dumps(_instances(found, {1: boxes["a.png"], 2: boxes["b.png"]})))
    assert evaluate_instance_files(tmp_path / "truth.json", predicted).summary["AP"] == 100
    # By ids alone, image 1 would be none of the truth, or another one.
    exchanged = _instances(found, {1: boxes["b.png"], 2: boxes["a.png"]})
    predicted.write_text(json.dumps(exchanged))
    assert evaluate_instance_files(tmp_path / "truth.json", predicted).summary["AP"] == 0
