"""PQ of files: equal to panopticapi's, areas from pixels, wrong pairs by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seg_projects.errors import UserError
from seg_projects.evaluation.panoptic_files import evaluate_panoptic_files
from seg_projects.evaluation.scores import Scores

# A dog (8) beside a cat (3) below sky (5).
IDS = np.array([[3, 3, 3, 3], [1, 1, 2, 2]])
SEGMENTS = [(1, 8, 0), (2, 3, 0), (3, 5, 0)]
Edit = Callable[[dict[str, Any]], None]
Evaluate = Callable[..., Scores]


@pytest.fixture
def evaluate(tmp_path: Path, write_panoptic: Any) -> Evaluate:
    """Evaluates the scene against itself, the JSON of truth or prediction edited before."""

    def run(edit_prediction: Edit | None = None, edit_truth: Edit | None = None) -> Scores:
        files: list[Path] = []
        for name, edit in (("truth", edit_truth), ("predicted", edit_prediction)):
            path = write_panoptic(tmp_path / name, [(IDS, SEGMENTS)])
            content = json.loads(path.read_text())
            if edit:
                edit(content)
            path.write_text(json.dumps(content))
            files += [path, tmp_path / name / "masks"]
        return evaluate_panoptic_files(*files)

    return run


def _segments(content: dict[str, Any]) -> list[dict[str, Any]]:
    return content["annotations"][0]["segments_info"]


def _panopticapi(truth: Path, masks: Path, predicted: Path, predicted_masks: Path) -> Any:
    evaluation = pytest.importorskip(
        "panopticapi.evaluation", reason="panopticapi is an independent check"
    )
    content = json.loads(truth.read_text())
    found = {a["image_id"]: a for a in json.loads(predicted.read_text())["annotations"]}
    categories = {c["id"]: c for c in content["categories"]}
    pairs = [(a, found[a["image_id"]]) for a in content["annotations"]]
    stat = evaluation.pq_compute_single_core(0, pairs, str(masks), str(predicted_masks), categories)
    return stat.pq_average(categories, isthing=None)[0]


REFERENCE = "panoptic_eval_reference/coco_{}"
SELF = {
    "coco_panoptic": "coco_panoptic/annotations/panoptic_val2017",
    "panopticapi_sample": "panopticapi_sample/sample_data/panoptic_examples",
}


def test_equals_panopticapi_s_numbers_of_the_reference_files(shared_data: Path) -> None:
    folder = shared_data / "panoptic_eval_reference"
    scores = evaluate_panoptic_files(
        folder / "coco_gt.json", folder / "coco_gt", folder / "coco_pred.json", folder / "coco_pred"
    )
    # What panopticapi gives for these files.
    expected = {
        "PQ": 67.40486628641355,
        "SQ": 68.34387673557568,
        "RQ": 82.05128205128206,
        "PQ_th": 57.69675073143916,
        "SQ_th": 59.10526640518237,
        "RQ_th": 73.07692307692308,
        "PQ_st": 86.8210973963623,
        "SQ_st": 86.8210973963623,
        "RQ_st": 100.0,
    }
    assert scores.summary == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("stem", SELF.values(), ids=SELF.keys())
def test_real_data_against_itself_is_perfect(shared_data: Path, stem: str) -> None:
    files = (shared_data / f"{stem}.json", shared_data / stem)
    scores = evaluate_panoptic_files(*files, *files)
    assert (scores.summary["PQ"], scores.summary["PQ_th"], scores.summary["PQ_st"]) == (100,) * 3
    assert scores.notes == []


@pytest.mark.parametrize("stem", SELF.values(), ids=SELF.keys())
def test_equals_panopticapi_on_damaged_real_data(
    shared_data: Path, tmp_path: Path, stem: str
) -> None:
    truth, masks = shared_data / f"{stem}.json", shared_data / stem
    predicted, predicted_masks = _damage(truth, masks, tmp_path)
    files = (truth, masks, predicted, predicted_masks)
    scores, expected = evaluate_panoptic_files(*files).summary, _panopticapi(*files)
    assert 5 < scores["PQ"] < 95
    for key in ("PQ", "SQ", "RQ"):
        assert scores[key] == pytest.approx(100 * expected[key.lower()], rel=1e-12)


def _damage(truth: Path, masks: Path, folder: Path) -> tuple[Path, Path]:
    """The truth shifted by 8 pixels, every fourth segment in another category, as a prediction."""
    content = json.loads(truth.read_text())
    categories = [c["id"] for c in content["categories"]]
    (folder / "predicted").mkdir()
    for annotation in content["annotations"]:
        rgb = np.roll(np.array(Image.open(masks / annotation["file_name"])), 8, axis=1)
        Image.fromarray(rgb).save(folder / "predicted" / annotation["file_name"])
        for segment in annotation["segments_info"][::4]:
            place = categories.index(segment["category_id"])
            segment["category_id"] = categories[(place + 1) % len(categories)]
    path = folder / "predicted.json"
    path.write_text(json.dumps(content))
    return path, folder / "predicted"


def _halve_areas(content: dict[str, Any]) -> None:
    for segment in _segments(content):
        segment["area"] /= 2


def _areas_before_overlaps(content: dict[str, Any]) -> None:
    _segments(content)[0]["area"] += 1


@pytest.mark.parametrize("edit", [_halve_areas, _areas_before_overlaps])
def test_areas_are_counted_from_pixels_and_wrong_fields_named(
    evaluate: Evaluate, tmp_path: Path, edit: Edit
) -> None:
    # panopticapi trusts the field: above 100 with halves, below 100 with the larger one.
    scores = evaluate(edit_truth=edit)
    assert scores.summary["PQ"] == 100
    assert len(scores.notes) == 1
    assert "truth/panoptic.json: the `area` of" in scores.notes[0]
    assert "Areas were counted from pixels" in scores.notes[0]


@pytest.mark.parametrize("edit", [_halve_areas, _areas_before_overlaps])
def test_panopticapi_is_misled_by_the_field(evaluate: Evaluate, tmp_path: Path, edit: Edit) -> None:
    pytest.importorskip("panopticapi", reason="panopticapi is an independent check")
    evaluate(edit_truth=edit)
    sides = [
        (tmp_path / s / "panoptic.json", tmp_path / s / "masks") for s in ("truth", "predicted")
    ]
    assert abs(_panopticapi(*sides[0], *sides[1])["pq"] - 1) > 0.05


def test_things_alone_leave_stuff_undefined_with_a_word(
    tmp_path: Path, write_panoptic: Any
) -> None:
    path = write_panoptic(tmp_path / "set", [(np.array([[1, 1, 0]]), [(1, 8, 0)])])
    files = (path, tmp_path / "set/masks")
    scores = evaluate_panoptic_files(*files, *files)
    assert (scores.summary["PQ"], scores.summary["PQ_th"]) == (100, 100)
    assert np.isnan(scores.summary["PQ_st"])
    assert scores.notes == ["No stuff occurs in truth or prediction: PQ_st is undefined (NaN)."]


@pytest.mark.parametrize(
    ("kind", "segment", "absent"), [(True, (1, 8, 0), "_st"), (False, (1, 5, 0), "_th")]
)
def test_where_panopticapi_divides_by_zero_the_other_kind_is_undefined(
    tmp_path: Path, write_panoptic: Any, kind: bool, segment: tuple[int, int, int], absent: str
) -> None:
    evaluation = pytest.importorskip(
        "panopticapi.evaluation", reason="panopticapi is an independent check"
    )
    path = write_panoptic(tmp_path / "set", [(np.array([[1, 1, 0]]), [segment])])
    files = (path, tmp_path / "set/masks")
    content = json.loads(path.read_text())
    categories = {c["id"]: c for c in content["categories"]}
    pairs = [(a, a) for a in content["annotations"]]
    masks = str(files[1])
    stat = evaluation.pq_compute_single_core(0, pairs, masks, masks, categories)
    with pytest.raises(ZeroDivisionError):
        stat.pq_average(categories, isthing=not kind)
    scores = evaluate_panoptic_files(*files, *files)
    assert scores.summary["PQ"] == 100
    assert np.isnan(scores.summary[f"PQ{absent}"])


def test_boundary_pq_of_files_is_below_pq_where_contours_are_off(
    tmp_path: Path, write_panoptic: Any
) -> None:
    ids = np.full((40, 40), 3)
    ids[10:30, 10:30] = 1
    segments = [(1, 8, 0), (3, 5, 0)]
    truth = write_panoptic(tmp_path / "truth", [(ids, segments)])
    found = write_panoptic(tmp_path / "found", [(np.roll(ids, 2, axis=1), segments)])
    files = (truth, tmp_path / "truth/masks", found, tmp_path / "found/masks")
    scores = evaluate_panoptic_files(*files, boundary_share=0.02)
    # A dog moved by 2 of 20 pixels: 360 / 440; of its boundary of 1 pixel too little stays.
    assert scores.per_category["dog"]["PQ"] == pytest.approx(100 * 360 / 440)
    assert scores.per_category["dog"]["BPQ"] == 0
    assert scores.summary["BPQ_th"] == 0


def _no_annotation(content: dict[str, Any]) -> None:
    content["annotations"] = []


def _other_image(content: dict[str, Any]) -> None:
    content["annotations"].append({**content["annotations"][0], "image_id": 7})


def _missing_file(content: dict[str, Any]) -> None:
    content["annotations"][0]["file_name"] = "absent.png"


def _unknown_category(content: dict[str, Any]) -> None:
    _segments(content)[0]["category_id"] = 77


def _listed_twice(content: dict[str, Any]) -> None:
    _segments(content).append(_segments(content)[0])


def _without_pixels(content: dict[str, Any]) -> None:
    _segments(content).append({"id": 9, "category_id": 8})


def _unlisted(content: dict[str, Any]) -> None:
    _segments(content).pop()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_no_annotation, "image 0: has no annotation in .*predicted/panoptic.json"),
        (_other_image, "image 7: is predicted, but not in .*truth/panoptic.json"),
        (_missing_file, "image 0: The panoptic PNG .*absent.png does not exist"),
        (_unknown_category, "predicted/masks/0.png: segment 1 has category 77, which the truth"),
        (_listed_twice, "predicted/masks/0.png: segments overlap: id 1 is listed twice"),
        (
            _without_pixels,
            r"predicted/masks/0.png: missing: listed segments without a pixel: \[9\]",
        ),
        (_unlisted, r"predicted/masks/0.png: ids in the PNG that no segment lists: \[3\]"),
    ],
)
def test_wrong_predictions_are_named(evaluate: Evaluate, edit: Edit, message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(edit_prediction=edit)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "1"}, "segment 0 has the id '1', not a whole number"),
        ({"id": float("nan")}, "segment 0 has the id nan, not a whole number"),
        ({"id": [1]}, r"segment 0 has the id \[1\], not a whole number"),
        ({"category_id": [8]}, r"segment 0 has the category_id \[8\], which is no category"),
        ({"iscrowd": "0"}, "segment 0 has the iscrowd '0', neither 0 nor 1"),
    ],
)
def test_segments_of_wrong_types_are_named(evaluate: Evaluate, change: Any, message: str) -> None:
    def edit(content: dict[str, Any]) -> None:
        _segments(content)[0].update(change)

    with pytest.raises(UserError, match=rf"(?s)predicted/panoptic.json: .*annotation 0: {message}"):
        evaluate(edit_prediction=edit)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": [0]}, r"has the image_id \[0\], no number"),
        ({"file_name": None}, "has the file_name None, no text"),
        ({"segments_info": None}, "has the segments_info None, not a list"),
    ],
)
def test_annotations_of_wrong_types_are_named(
    evaluate: Evaluate, change: Any, message: str
) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["annotations"][0].update(change)

    with pytest.raises(UserError, match=f"annotation 0: {message}"):
        evaluate(edit_prediction=edit)


def test_no_list_of_annotations_is_named(evaluate: Evaluate) -> None:
    with pytest.raises(UserError, match="annotations is None, not a list"):
        evaluate(edit_prediction=lambda content: content.update(annotations=None))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"isthing": "0"}, "category 0 has the isthing '0', neither 0 nor 1"),
        ({"name": "dog", "id": 77}, "the categories .* are both named 'dog'"),
        ({"name": "other", "id": 8}, "two category entries that differ have the id 8"),
    ],
)
def test_wrong_categories_of_the_truth_are_named(
    evaluate: Evaluate, change: Any, message: str
) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["categories"].insert(0, {"isthing": 1, **change})
        content["categories"][0].setdefault("name", "new")
        content["categories"][0].setdefault("id", 99)

    with pytest.raises(UserError, match=f"truth/panoptic.json: {message}"):
        evaluate(edit_truth=edit)


def test_a_prediction_that_names_categories_otherwise_is_noted(evaluate: Evaluate) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["categories"][0]["name"] = "wolf"

    assert "names 1 categories otherwise than the truth" in evaluate(edit_prediction=edit).notes[0]


def test_a_prediction_may_name_no_categories(evaluate: Evaluate) -> None:
    assert evaluate(edit_prediction=lambda content: content.pop("categories")).notes == []


@pytest.mark.parametrize(
    ("written", "hint"),
    [(lambda red: [red] * 3, "the picture is grey"), (lambda red: [red * 0, red * 0, red], "red")],
)
def test_a_png_of_another_encoding_is_told(
    tmp_path: Path, write_panoptic: Any, written: Any, hint: str
) -> None:
    sides = [write_panoptic(tmp_path / name, [(IDS, SEGMENTS)]) for name in ("truth", "found")]
    image = np.stack(written(IDS.astype(np.uint8)), axis=-1)
    Image.fromarray(image).save(tmp_path / "found/masks/0.png")
    files = [part for side in sides for part in (side, side.parent / "masks")]
    with pytest.raises(UserError, match=f"no segment lists: .*; {hint}.*, ids are R \\+ 256 G"):
        evaluate_panoptic_files(*files)


def test_another_size_is_named(tmp_path: Path, write_panoptic: Any) -> None:
    truth = write_panoptic(tmp_path / "truth", [(IDS, SEGMENTS)])
    other = write_panoptic(tmp_path / "other", [(IDS.T, SEGMENTS)])
    message = r"image 0: The prediction has the size \(4, 2\), the truth \(2, 4\)"
    with pytest.raises(UserError, match=message):
        evaluate_panoptic_files(truth, truth.parent / "masks", other, other.parent / "masks")


def test_every_wrong_image_is_named_and_the_list_is_bounded(
    tmp_path: Path, write_panoptic: Any
) -> None:
    truth = write_panoptic(tmp_path / "truth", [(IDS, SEGMENTS)] * 23)
    empty = tmp_path / "empty.json"
    empty.write_text('{"annotations": []}')
    with pytest.raises(UserError, match=r"23 problem\(s\)(.|\n)*image 19(.|\n)*and 3 more"):
        evaluate_panoptic_files(truth, truth.parent / "masks", empty, truth.parent / "masks")
