"""AP and AR against pycocotools: real files, and drawn cases with ties, crowds and nothing."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from seg_projects.errors import UserError
from seg_projects.evaluation import average_precision
from seg_projects.evaluation.coco_precision import Task, match_results, precision_scores
from seg_projects.evaluation.instance_files import evaluate_instance_files
from seg_projects.evaluation.instance_scores import evaluate_instances
from seg_projects.evaluation.instance_truth import with_compressed_mask
from seg_projects.evaluation.scores import Scores

KEYS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
IMAGES = [{"id": i, "height": 200, "width": 200} for i in (2, 5, 9)]


def _pycocotools(
    truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], task: Task
) -> COCOeval:
    """Their evaluation, the results with the areas that ``loadRes`` gives them."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco, found = COCO(), COCO()
        coco.dataset = dict(truth)
        coco.createIndex()
        areas = [
            r["bbox"][2] * r["bbox"][3]
            if task == "bbox"
            else float(coco_mask.area(r["segmentation"]))
            for r in results
        ]
        annotations = [
            {**r, "id": n, "iscrowd": 0, "area": area}
            for n, (r, area) in enumerate(zip(results, areas, strict=True), start=1)
        ]
        found.dataset = {**truth, "annotations": annotations}
        found.createIndex()
        evaluation = COCOeval(coco, found, task)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _check_equal(scores: Scores, evaluation: COCOeval) -> None:
    expected = np.where(evaluation.stats < 0, np.nan, 100 * evaluation.stats)
    got = [scores.summary[key] for key in KEYS]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10)  # percent: 1e-12 of the whole
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    for column, metrics in enumerate(scores.per_category.values()):
        theirs = precision[:, :, column]
        mean = 100 * theirs.mean() if (theirs > -1).all() else np.nan
        np.testing.assert_allclose(metrics["AP"], mean, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("_compiled_or_not")
@pytest.mark.parametrize(
    ("task", "expected"),
    [("segm", (0.320, 0.562, 0.299)), ("bbox", (0.505, 0.697, 0.573))],
)
def test_equals_pycocotools_on_coco_s_own_example(
    shared_data: Path, task: Task, expected: tuple[float, ...]
) -> None:
    folder = shared_data / "coco_eval_reference"
    truth = folder / "instances_val2014_100.json"
    found = folder / f"instances_val2014_fake{task}100_results.json"
    scores = evaluate_instance_files(truth, found)
    assert [round(scores.summary[k] / 100, 3) for k in KEYS[:3]] == list(expected)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
        evaluation = COCOeval(coco, coco.loadRes(str(found)), task)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    _check_equal(scores, evaluation)


# Few distinct places and scores, so that ties of IoU and of score are common; sides from 0 to 120
# pixels fall into all area ranges.
boxes = st.tuples(
    st.sampled_from([0, 5, 40]),
    st.sampled_from([0, 5, 40]),
    st.sampled_from([0, 1, 20, 32, 60, 96, 120]),
    st.sampled_from([1, 20, 32, 60, 96, 120]),
)
places = st.tuples(st.sampled_from([2, 5, 9]), st.sampled_from([3, 7]), boxes)
truth_lists = st.lists(st.tuples(places, st.sampled_from([0, 0, 0, 1])), max_size=12)
result_lists = st.lists(st.tuples(places, st.sampled_from([0.1, 0.5, 0.5, 0.9])), max_size=20)


def _rle(box: tuple[int, int, int, int]) -> dict[str, Any]:
    x, y, width, height = box
    mask = np.zeros((200, 200), dtype=np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    return coco_mask.encode(mask)


def _entry(place: Any, task: Task) -> dict[str, Any]:
    image, category, box = place
    entry = {"image_id": image, "category_id": category, "bbox": list(map(float, box))}
    return entry | {"segmentation": _rle(box)} if task == "segm" else entry


@pytest.fixture(params=[False, True], ids=["arrays", "kernels"])
def _compiled_or_not(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the loops that numba compiles, however few the detections, and without."""
    if request.param:
        pytest.importorskip("numba", reason="the extra `fast` is not installed")
    monkeypatch.setattr(average_precision, "KERNELS_FROM", 0 if request.param else float("inf"))


@pytest.mark.usefixtures("_compiled_or_not")
@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_equals_pycocotools_on_drawn_cases(task: Task) -> None:
    @settings(max_examples=100, deadline=None)
    @given(truth_lists, result_lists)
    def check(truth: list[Any], found: list[Any]) -> None:
        annotations = [
            {**_entry(place, task), "id": n, "iscrowd": crowd, "area": place[2][2] * place[2][3]}
            for n, (place, crowd) in enumerate(truth, start=1)
        ]
        results = [{**_entry(place, task), "score": score} for place, score in found]
        content = {"images": IMAGES, "annotations": annotations, "categories": CATEGORIES}
        matched = match_results(annotations, results, [3, 7], task)
        scores = precision_scores(matched, ["cat", "dog"])
        _check_equal(scores, _pycocotools(content, results, task))

    check()


def _scores(truth: list[Any], found: list[Any], limit: int = 100) -> Scores:
    """Of boxes of cats in image 2: ``truth`` of (box, id), ``found`` of (box, score)."""
    annotations = [
        {"image_id": 2, "category_id": 3, "bbox": box, "id": id_, "area": box[2] * box[3]}
        for box, id_ in truth
    ]
    results = [
        {"image_id": 2, "category_id": 3, "bbox": box, "score": score} for box, score in found
    ]
    matched = match_results(annotations, results, [3], "bbox", limit)
    return precision_scores(matched, ["cat"], limit)


BOX, OTHER = [0.0, 0.0, 50.0, 50.0], [90.0, 90.0, 50.0, 50.0]


def test_an_annotation_may_have_the_id_0() -> None:
    # pycocotools takes a match with the id 0 for none, and counts the detection as wrong.
    assert _scores([(BOX, 0)], [(BOX, 0.9)]).summary["AP"] == pytest.approx(100)


def test_inputs_are_left_as_they_are() -> None:
    annotations = [{"image_id": 2, "category_id": 3, "bbox": BOX, "area": 2500.0, "id": 1}]
    results = [{"image_id": 2, "category_id": 3, "bbox": BOX, "score": 0.5}]
    before = json.dumps([annotations, results])
    match_results(annotations, results, [3], "bbox")
    assert json.dumps([annotations, results]) == before


@pytest.mark.parametrize(("limit", "recall"), [(1, 0), (2, 100), (300, 100)])
def test_detections_per_image_are_limited(limit: int, recall: float) -> None:
    # The right one has the lower score.
    scores = _scores([(BOX, 1)], [(OTHER, 0.9), (BOX, 0.8)], limit)
    assert scores.summary[f"AR{limit}"] == recall
    assert ("1 predictions are beyond the first 1" in "".join(scores.notes)) == (limit == 1)


def test_no_prediction_is_0_with_a_word() -> None:
    scores = _scores([(BOX, 1)], [])
    assert (scores.summary["AP"], scores.summary["AR100"]) == (0, 0)
    assert "AP is 0: nothing was predicted" in scores.notes[-1]


def test_a_range_without_objects_is_nan_with_a_word() -> None:
    # 50 x 50 is medium; the 10 x 10 prediction is small.
    scores = _scores([(BOX, 1)], [(BOX, 0.9), ([0.0, 0.0, 10.0, 10.0], 0.5)])
    assert np.isnan(scores.summary["APs"])
    assert "APs is undefined (NaN; pycocotools prints -1)" in scores.notes[0]
    assert "1 of 2 predictions are of that size" in scores.notes[0]


def test_an_ap_of_0_says_where_predictions_fell() -> None:
    annotations = [{"image_id": 2, "category_id": 3, "bbox": BOX, "id": 1, "area": 2500}]
    places = [(2, 3, OTHER), (2, 7, BOX), (5, 3, BOX), (5, 3, BOX)]
    results = [{"image_id": i, "category_id": c, "bbox": box, "score": 0.5} for i, c, box in places]
    scores = precision_scores(match_results(annotations, results, [3, 7], "bbox"), ["cat", "dog"])
    assert (
        "of 4 predictions, 2 fell on images without objects, 1 on images without an object of"
        " their category, 1 overlap every object" in scores.notes[-1]
    )


GOOD = {"image_id": 2, "category_id": 3, "score": 0.5, "bbox": BOX}


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({**GOOD, "image_id": 4}, "result 0: is on image 4, which the truth does not list"),
        ({**GOOD, "category_id": 1}, "result 0: has category 1, which the truth does not list"),
        ({**GOOD, "bbox": [1, 2]}, r"result 0: has the box \[1, 2\]"),
        ({**GOOD, "score": float("nan")}, "result 0: has the score NaN"),
        ({**GOOD, "score": True}, "result 0: has the score True"),
        ({**GOOD, "score": 10**400}, "result 0: has the score 1000"),
        ({**GOOD, "iscrowd": "0"}, "result 0: has the iscrowd '0', neither 0 nor 1"),
        ({**GOOD, "segmentation": {"size": None, "counts": "1"}}, "a mask of the size None"),
        ({"image_id": 2, "category_id": 3, "score": 1}, "result 0: has no 'bbox'"),
        (
            {**GOOD, "segmentation": {"size": [3, 4], "counts": ""}},
            r"result 0: has a mask of the size \[3, 4\], its image \[200, 200\]",
        ),
    ],
)
def test_results_that_do_not_fit_are_named(
    tmp_path: Path, result: dict[str, Any], message: str
) -> None:
    truth = {"images": IMAGES, "annotations": [], "categories": CATEGORIES}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps([result]))
    with pytest.raises(UserError, match=message):
        evaluate_instance_files(tmp_path / "truth.json", tmp_path / "found.json")


@pytest.mark.usefixtures("_compiled_or_not")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": None}, "images is None, not a list"),
        ({"images": [{**IMAGES[0], "height": "8"}]}, "image 0 has the height '8', not a"),
        ({"images": [{**IMAGES[0], "height": 0}]}, "image 0 has the height 0, not a"),
        ({"images": [*IMAGES, {**IMAGES[0], "width": 9}]}, "two image entries .* have the id 2"),
        ({"images": [*IMAGES, {**IMAGES[0], "id": "a"}]}, "some image ids are texts, others"),
        ({"images": [{**IMAGES[0], "id": None}]}, "the image id None is no number"),
        ({"categories": [{"id": 1, "name": ["cat"]}]}, r"category 1 has the name \['cat'\], no"),
        (
            {"categories": [{"id": i, "name": "cat"} for i in (1, 4)]},
            "1 and 4 are both named 'cat'",
        ),
        (
            {"annotations": [{"image_id": 2, "category_id": 3, "area": -1, "segmentation": []}]},
            "annotation 0: has the area -1",
        ),
    ],
)
def test_a_truth_that_is_wrong_is_named(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    truth = {"images": IMAGES, "annotations": [], "categories": CATEGORIES} | change
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text("[]")
    with pytest.raises(UserError, match=f"(?s)truth.json: .*{message}"):
        evaluate_instance_files(tmp_path / "truth.json", tmp_path / "found.json", task="segm")


@pytest.mark.parametrize(
    ("box", "note"),
    [
        ([10.0, 10.0, 40.0, 40.0], None),
        ([150.0, 150.0, 55.0, 40.0], None),  # a little beyond
        ([150.0, 20.0, 190.0, 40.0], "Of 1 boxes of the results 1 reach far beyond their image"),
        ([50.0, 50.0, -20.0, -20.0], "0 reach far beyond their image, 1 have a negative side"),
        ([0.1, 0.1, 0.5, 0.9], "not shares of the image"),
    ],
)
def test_boxes_of_another_convention_are_told(tmp_path: Path, box: Any, note: str | None) -> None:
    truth = {"images": IMAGES, "annotations": [], "categories": CATEGORIES}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps([{**GOOD, "bbox": box}]))
    notes = evaluate_instance_files(tmp_path / "truth.json", tmp_path / "found.json").notes
    assert ("boxes are x, y, width, height" in notes[-1]) == (note is not None)
    assert note is None or note in notes[-1]


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_boundary_share_is_a_share(share: float) -> None:
    with pytest.raises(UserError, match=f"boundary share {share} is outside"):
        evaluate_instance_files(Path("truth.json"), Path("found.json"), boundary_share=share)


def test_boundaries_of_boxes_are_left_out_with_a_word(tmp_path: Path) -> None:
    truth = {"images": IMAGES, "annotations": [], "categories": CATEGORIES}
    files = tmp_path / "truth.json", tmp_path / "found.json"
    files[0].write_text(json.dumps(truth))
    files[1].write_text(json.dumps([GOOD]))
    scores = evaluate_instance_files(*files, boundary_share=0.02)
    assert "Boxes were scored, which have no boundaries: there is no BAP." in scores.notes
    assert "BAP" not in scores.summary


def test_two_results_are_compared_with_masks_that_are_compressed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, found = tmp_path / "truth.json", tmp_path / "found.json"
    square = {"image_id": 1, "category_id": 1, "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]]}
    content = {
        "images": [{"id": 1, "height": 8, "width": 8}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 1, "area": 16, "iscrowd": 0, **square}],
    }
    truth.write_text(json.dumps(content))
    found.write_text(json.dumps([{"score": 0.5, **square}]))
    compressed = []

    def noted(entry: Any, size: Any) -> Any:
        compressed.append("area" in entry)
        return with_compressed_mask(entry, size)

    monkeypatch.setattr("seg_projects.evaluation.instance_files.with_compressed_mask", noted)
    scores = evaluate_instance_files(truth, found, other=found)
    assert scores.summary["AP"] == pytest.approx(100)
    assert scores.summary["AP_other"] == pytest.approx(100)
    assert sorted(compressed) == [False, False, True]  # of two results and one truth


def test_masks_that_touch_wrap_or_are_empty_have_the_ious_of_pixels() -> None:
    rng = np.random.default_rng(3)
    masks = [np.zeros((7, 5), np.uint8), np.ones((7, 5), np.uint8)]
    masks += [(rng.random((7, 5)) < share).astype(np.uint8) for share in (0.1, 0.5, 0.5, 0.9)]
    masks += [np.eye(7, 5, dtype=np.uint8), np.triu(np.ones((7, 5), np.uint8))]
    rles = [coco_mask.encode(np.asfortranarray(mask)) for mask in masks]
    annotations = [
        {"image_id": 1, "category_id": 1, "segmentation": r, "area": 1, "iscrowd": i % 2}
        for i, r in enumerate(rles)
    ]
    results = [{"image_id": 1, "category_id": 1, "segmentation": r, "score": 0.5} for r in rles]
    matched = match_results(annotations, results, [1], "segm")
    expected = {}
    for row, mask in enumerate(masks):
        for column, truth in enumerate(masks):
            union = mask.sum() if column % 2 else (mask | truth).sum()
            iou = (mask & truth).sum() / max(union, 1)
            if iou >= 0.5:
                expected[row, column] = iou
    pairs = zip(*(part.tolist() for part in matched.pairs), strict=True)
    assert {(row, column): iou for row, column, iou in pairs} == expected
    assert matched.detections.area.tolist() == [mask.sum() for mask in masks]


@pytest.mark.parametrize("limit", [3, 150])
def test_other_limits_equal_pycocotools_with_the_same(limit: int) -> None:
    rng = np.random.default_rng(0)
    annotations, results = [], []
    for place in range(130):
        box = [float(place % 12 * 16), float(place // 12 * 16), 12.0, 12.0]
        entry = {"image_id": 2, "category_id": 3, "bbox": box}
        annotations.append(entry | {"id": place + 1, "iscrowd": 0, "area": 144.0})
        shifted = [box[0] + float(rng.integers(0, 4)), *box[1:]]
        results.append(entry | {"bbox": shifted, "score": float(rng.random())})
    scores = precision_scores(
        match_results(annotations, results, [3], "bbox", limit), ["cat"], limit
    )
    content = {"images": IMAGES, "annotations": annotations, "categories": CATEGORIES[:1]}
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = content
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.params.maxDets = [1, limit]
        evaluation.evaluate()
        evaluation.accumulate()
    expected = 100 * evaluation.eval["precision"][:, :, :, 0, -1].mean()
    assert scores.summary["AP"] == pytest.approx(expected, abs=1e-10)
    expected = 100 * evaluation.eval["recall"][:, :, 0, -1].mean()
    assert scores.summary[f"AR{limit}"] == pytest.approx(expected, abs=1e-10)
    assert 5 < scores.summary["AP"] < 95 or limit == 3


def test_predictions_are_counted_by_where_they_fell() -> None:
    crowd = {"image_id": 2, "category_id": 3, "bbox": OTHER, "area": 2500, "iscrowd": 1}
    annotations = [{"image_id": 2, "category_id": 3, "bbox": BOX, "area": 2500}, crowd]
    places = [(BOX, 0.9), (BOX, 0.8), (OTHER, 0.7), ([200.0, 200.0, 9.0, 9.0], 0.6)]
    results = [
        {"image_id": 2, "category_id": 3, "bbox": box, "score": score} for box, score in places
    ]
    scores = precision_scores(match_results(annotations, results, [3], "bbox"), ["cat"])
    row = scores.per_category["cat"]
    fell = [row[key] for key in ("predictions", "right", "taken", "ignored", "elsewhere")]
    assert fell == [4, 1, 1, 1, 1]


@pytest.mark.usefixtures("_compiled_or_not")
def test_images_may_have_names() -> None:
    names = {2: "frankfurt", 5: "lindau"}
    entries = [{"image_id": i, "category_id": 3, "bbox": BOX, "area": 2500} for i in names]
    results = [entry | {"score": 0.5} for entry in entries]
    named = [
        [row | {"image_id": names[row["image_id"]]} for row in rows] for rows in (entries, results)
    ]
    for rows, images in ((results, [2, 5]), ([], [2, 5])):
        plain = evaluate_instances(entries, rows, {3: "cat"}, "bbox", dict.fromkeys(images, "a"))
        found = named[1] if rows else []
        by_name = dict.fromkeys(names.values(), "a")
        with_names = evaluate_instances(named[0], found, {3: "cat"}, "bbox", by_name)
        assert with_names.scores.summary == pytest.approx(plain.scores.summary, nan_ok=True)
    assert with_names.scores.worst_images["AP"][0]["image_id"] == "frankfurt"


def test_the_kernels_wait_for_work_that_is_worth_their_loading() -> None:
    assert average_precision.precision_kernels(average_precision.KERNELS_FROM - 1) is None


@pytest.mark.parametrize("counts", [b"", b"o", b"04oo"])
def test_run_lengths_that_end_within_a_number_are_refused(counts: bytes) -> None:
    kernels = pytest.importorskip(
        "seg_projects.evaluation.precision_kernels", reason="numba is not installed"
    )
    text, heights = np.frombuffer(counts, np.uint8), np.array([4])
    offsets = np.array([0, len(counts)])
    if not counts:
        assert kernels.decode_runs(text, offsets, heights)[0].tolist() == [0, 0]
        return
    with pytest.raises(ValueError, match="a number has no end"):
        kernels.decode_runs(text, offsets, heights)


def _random_masks(count: int, height: int = 9, width: int = 7) -> list[np.ndarray]:
    """From empty over full columns to full."""
    rng = np.random.default_rng(0)
    shares = np.linspace(0, 1, count)
    return [
        np.asfortranarray(rng.random((height, width)) < share, dtype=np.uint8) for share in shares
    ]


def _encoded(masks: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    return [coco_mask.encode(mask) for mask in masks]


def test_decoded_runs_paint_the_mask_and_lie_within_its_box() -> None:
    kernels = pytest.importorskip(
        "seg_projects.evaluation.precision_kernels", reason="numba is not installed"
    )
    for mask in [*_random_masks(60), np.zeros((300, 200), np.uint8), np.eye(300, dtype=np.uint8)]:
        counts = coco_mask.encode(np.asfortranarray(mask))["counts"]
        text, offsets = np.frombuffer(counts, np.uint8), np.array([0, len(counts)])
        first, starts, stops, boxes, areas = kernels.decode_runs(
            text, offsets, np.array([mask.shape[0]])
        )
        painted = np.zeros(mask.size, np.uint8)
        for start, stop in zip(starts, stops, strict=True):
            painted[start:stop] = 1
        np.testing.assert_array_equal(painted.reshape(mask.shape, order="F"), mask)
        assert (first[1], areas[0]) == (len(starts), mask.sum())
        x0, y0, x1, y1 = boxes[0]
        rows, columns = np.nonzero(mask)
        tight = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if len(rows) else ()
        assert (x0, y0, x1, y1) == (tight or (0, 0, 0, 0))


@pytest.mark.parametrize("as_text", [False, True])
def test_compiled_overlaps_are_those_of_pycocotools(as_text: bool) -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    from seg_projects.evaluation.compiled_overlaps import overlapping_masks

    truth, found = _encoded(_random_masks(20)), _encoded(_random_masks(31)[::-1])
    crowd = np.arange(20) % 3 == 0
    expected = coco_mask.iou(found, truth, crowd.astype(np.uint8).tolist())
    zeros = np.zeros(31, dtype=np.int64)
    kept = np.random.default_rng(0).permutation(31)[:30]
    if as_text:
        truth, found = ([{**m, "counts": m["counts"].decode()} for m in s] for s in (truth, found))
    pairs, area = overlapping_masks(
        average_precision.Truths(zeros[:20], zeros[:20], np.zeros(20), crowd),
        truth,
        average_precision.Detections(zeros[:30], zeros[:30], np.zeros(30), np.zeros(30)),
        found,
        kept,
    )
    got = np.zeros((30, 20))
    got[pairs.detection, pairs.truth] = pairs.iou
    np.testing.assert_array_equal(got, np.where(expected >= 0.5, expected, 0)[kept])
    np.testing.assert_array_equal(area, coco_mask.area(found)[kept])
