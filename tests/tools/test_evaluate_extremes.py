"""Files with nothing in them, or with what does not belong there: a number or words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_runs import tool_main

Captured = pytest.CaptureFixture[str]
SIZE = (12, 12)


def _evaluate(kind: str, *arguments: Any) -> int:
    return tool_main("evaluate")([kind, *map(str, arguments)])


def _summary(path: Path) -> dict[str, float | None]:
    return json.loads(path.read_text())["summary"]


# -- panoptic --------------------------------------------------------------------------------------

SKY_AND_CAT = np.repeat([[3, 3, 2, 2]], 4, axis=0)
SCENES: dict[str, list[tuple[np.ndarray, list[tuple[int, int, int]]]]] = {
    "none": [],
    "void": [(np.zeros((4, 4), dtype=np.int64), [])],
    "crowd": [(np.full((4, 4), 2), [(2, 3, 1)])],
    "cat": [(np.full((4, 4), 2), [(2, 3, 0)])],
    "both": [(SKY_AND_CAT, [(3, 5, 0), (2, 3, 0)])],
}


@pytest.mark.parametrize(
    ("truth", "found", "value", "words"),
    [
        ("none", "none", None, "No image was evaluated"),
        ("void", "void", None, "No segment that counts occurs in truth or prediction"),
        ("void", "both", None, "No segment that counts occurs in truth or prediction"),
        ("crowd", "cat", None, "No segment that counts occurs in truth or prediction"),
        ("both", "void", 0, "PQ is 0: of 2 segments of the truth none is found, nothing that"),
        ("cat", "cat", 100, "No stuff occurs in truth or prediction: PQ_st is undefined (NaN)"),
        ("both", "both", 100, ""),
    ],
)
def test_extreme_panoptic_sets(
    tmp_path: Path,
    write_panoptic: Any,
    capsys: Captured,
    truth: str,
    found: str,
    value: float | None,
    words: str,
) -> None:
    sides = {"truth": SCENES[truth], "found": SCENES[found]}
    a, b = (write_panoptic(tmp_path / name, scenes) for name, scenes in sides.items())
    files = ["--truth", a, "--truth-masks", a.parent / "masks"]
    files += ["--predictions", b, "--prediction-masks", b.parent / "masks"]
    files += ["--compare", b, "--compare-masks", b.parent / "masks", "--boundary", 0.02]
    out = tmp_path / "out.json"
    assert _evaluate("panoptic", *files, "--bootstrap", 5, "--json", out, "--csv", out) == 0
    assert _evaluate("panoptic", *files, "--json", out) == 0
    summary = _summary(out)
    assert [summary[key] for key in ("PQ", "BPQ", "PQ_other")] == [value] * 3
    assert summary["PQ_p"] == (None if value is None else 1)
    assert words in capsys.readouterr().out


def test_an_image_without_a_prediction_is_named(
    tmp_path: Path, write_panoptic: Any, capsys: Captured
) -> None:
    a, b = (write_panoptic(tmp_path / name, SCENES[name]) for name in ("both", "none"))
    files = ["--truth", a, "--truth-masks", a.parent / "masks"]
    files += ["--predictions", b, "--prediction-masks", b.parent / "masks"]
    assert _evaluate("panoptic", *files) == 2
    assert "image 0: has no annotation in" in capsys.readouterr().err


def test_ids_beyond_24_bits_are_named(
    tmp_path: Path, write_panoptic: Any, capsys: Captured
) -> None:
    path = write_panoptic(tmp_path / "cat", SCENES["cat"])
    content = json.loads(path.read_text())
    content["annotations"][0]["segments_info"][0]["id"] = 2 + (1 << 24)
    path.write_text(json.dumps(content))
    sides = ["--truth", path, "--truth-masks", path.parent / "masks"]
    sides += ["--predictions", path, "--prediction-masks", path.parent / "masks"]
    assert _evaluate("panoptic", *sides) == 2
    assert "segment 16777218: ids of this format are below 16777216" in capsys.readouterr().err


# -- instances -------------------------------------------------------------------------------------

BOX = {"image_id": 0, "category_id": 1, "bbox": [0, 0, 10, 10]}
SQUARE = [[0, 0, 10, 0, 10, 10, 0, 10]]
ANNOTATION = {**BOX, "id": 1, "area": 100, "iscrowd": 0, "segmentation": SQUARE}
IMAGE = {"id": 0, "file_name": "0.jpg", "height": SIZE[0], "width": SIZE[1]}
CAT = {"id": 1, "name": "cat"}


def _instances(folder: Path, truth: Any, results: Any) -> list[Any]:
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "found.json").write_text(json.dumps(results))
    return ["--truth", folder / "truth.json", "--predictions", folder / "found.json"]


def _truth(images: Any, annotations: Any, categories: Any = (CAT,)) -> dict[str, Any]:
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.mark.parametrize("task", ["bbox", "segm"])
@pytest.mark.parametrize(
    ("truth", "results", "value", "words"),
    [
        (_truth([], []), [], None, "No image was evaluated"),
        (_truth([], [], []), [], None, "No image was evaluated"),
        (_truth([IMAGE], []), [BOX], None, "Every AP is undefined (NaN; pycocotools prints -1)"),
        (_truth([IMAGE], [ANNOTATION]), [], 0, "AP is 0: nothing was predicted"),
        (_truth([IMAGE], [ANNOTATION]), [BOX], 100, "APm is undefined (NaN"),
        (
            _truth([IMAGE], [{**ANNOTATION, "iscrowd": 1}]),
            [BOX],
            None,
            "the truth has no object that is not a crowd; 1 of 1 predictions lie on crowds",
        ),
    ],
    ids=["no image", "no category", "no truth", "no prediction", "one class", "crowd alone"],
)
def test_extreme_sets_of_instances(
    tmp_path: Path,
    capsys: Captured,
    task: str,
    truth: Any,
    results: list[Any],
    value: float | None,
    words: str,
) -> None:
    results = [{**result, "score": 0.5, "segmentation": SQUARE} for result in results]
    files = _instances(tmp_path, truth, results)
    options = ["--task", task, "--compare", files[3], "--bootstrap", 5, "--boundary", 0.02]
    out = tmp_path / "out.json"
    assert _evaluate("instances", *files, *options, "--json", out) == 0
    summary = _summary(out)
    expected = pytest.approx([value] * 2) if value else [value] * 2
    assert [summary["AP"], summary["AP_other"]] == expected
    assert words in capsys.readouterr().out


def _rle(size: list[int], counts: Any) -> dict[str, Any]:
    return {"segmentation": {"size": size, "counts": counts}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": "high"}, "result 0: has the score 'high'"),
        ({"score": float("nan")}, "result 0: has the score NaN"),
        ({"image_id": 7}, "result 0: is on image 7, which the truth does not list"),
        ({"image_id": [0]}, "result 0: has the image [0]"),
        ({"category_id": 7}, "result 0: has category 7, which the truth does not list"),
        ({"segmentation": [[1, 2]]}, "result 0: has the polygon [1, 2], not x and y"),
        ({"segmentation": [[1, 2, 3, 4, 5, "x"]]}, "in which not all are numbers"),
        ({"segmentation": 5}, "result 0: has the segmentation 5, neither polygons nor"),
        (_rle([5, 5], "0"), "result 0: has a mask of the size [5, 5], its image [12, 12]"),
        (_rle([12, 12], [100, 10]), "result 0: has run lengths of 110 pixels"),
        (_rle([12, 12], ["a"]), "result 0: has the counts ['a'], which are no run lengths"),
        (_rle([12, 12], "0o"), "result 0: has run lengths that are damaged"),
        (_rle([12, 12], "0"), "result 0: has run lengths of 0 pixels; its image has 144"),
    ],
)
def test_wrong_results_are_named(
    tmp_path: Path, capsys: Captured, change: dict[str, Any], message: str
) -> None:
    result = {**BOX, "score": 0.5, "segmentation": SQUARE, **change}
    files = _instances(tmp_path, _truth([IMAGE], [ANNOTATION]), [result])
    assert _evaluate("instances", *files) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("box", [None, [1, 2, 3], [0, 0, float("nan"), 1], "0000"])
def test_wrong_boxes_are_named(tmp_path: Path, capsys: Captured, box: Any) -> None:
    files = _instances(
        tmp_path, _truth([IMAGE], [ANNOTATION]), [{**BOX, "score": 0.5, "bbox": box}]
    )
    assert _evaluate("instances", *files) == 2
    assert f"result 0: has the box {box!r}, not 4 numbers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][0].pop("area"), "annotation 0: has no 'area'"),
        (lambda c: c["annotations"][0].pop("segmentation"), "annotation 0: has no 'segmentation'"),
        (lambda c: c["annotations"][0].update(image_id=3), "annotation 0: is on image 3"),
        (lambda c: c["annotations"][0].update(category_id=3), "annotation 0: has category 3"),
        (lambda c: c["annotations"][0].update(segmentation=[]), "has the segmentation []"),
        (lambda c: c["images"][0].pop("height"), "image 0 has no 'height'"),
        (lambda c: c["categories"].append(5), "category 1 is 5, no object with the fields id"),
        (lambda c: c.pop("images"), "is not a COCO instances file"),
    ],
)
def test_a_wrong_truth_is_named(
    tmp_path: Path, capsys: Captured, change: Callable[[Any], Any], message: str
) -> None:
    content = json.loads(json.dumps(_truth([IMAGE], [ANNOTATION])))
    change(content)
    files = _instances(tmp_path, content, [])
    assert _evaluate("instances", *files, "--task", "segm") == 2
    assert message in capsys.readouterr().err


def test_a_list_of_something_else_is_named(tmp_path: Path, capsys: Captured) -> None:
    assert _evaluate("instances", *_instances(tmp_path, _truth([IMAGE], [ANNOTATION]), [3])) == 2
    assert "result 0: is 3, no object with the fields image_id" in capsys.readouterr().err


# -- label maps ------------------------------------------------------------------------------------

LABELS = np.array([[0, 0, 1, 1, 255]] * 4)
FOUND = np.array([[0, 0, 1, 0, 0]] * 4)
METRICS = ["--metric", "boundary_f1", "--metric", "boundary_iou", "--metric", "surface_distance"]


def _save(labels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, labels)
    elif path.stem == "palette":
        image = Image.fromarray(labels.astype(np.uint8)).convert("P")
        image.putpalette(list(range(256)) * 3)
        image.save(path)
    else:
        Image.fromarray(labels).save(path)


def _semantic(folder: Path, truth: np.ndarray, found: np.ndarray) -> list[Any]:
    _save(truth, folder / "truth/a.npy")
    _save(found, folder / "found/a.npy")
    return ["--truth", folder / "truth", "--predictions", folder / "found"]


@pytest.mark.parametrize(
    ("truth", "found", "classes", "value", "words"),
    [
        (np.full((4, 4), 255), np.zeros((4, 4), int), "a,b", None, "The truth labels no pixel"),
        (np.zeros((0, 4), int), np.zeros((0, 4), int), "a,b", None, "The truth labels no pixel"),
        (np.zeros((4, 4), int), np.zeros((4, 4), int), "a", 100, "kappa is undefined (NaN)"),
        (np.zeros((1, 1), int), np.ones((1, 1), int), "a,b", 0, "predicted, though absent from"),
        (LABELS, FOUND, "a,b,c,d", 175 / 3, "mIoU_all is undefined (NaN): 2 classes occur on"),
    ],
    ids=["all void", "no pixels", "one class", "one pixel", "absent classes"],
)
def test_extreme_label_maps(
    tmp_path: Path,
    capsys: Captured,
    truth: np.ndarray,
    found: np.ndarray,
    classes: str,
    value: float | None,
    words: str,
) -> None:
    files, out = _semantic(tmp_path, truth, found), tmp_path / "out.json"
    options = ["--classes", classes, *METRICS, "--bootstrap", 5, "--compare", tmp_path / "found"]
    assert _evaluate("semantic", *files, *options, "--json", out) == 0
    summary = _summary(out)
    expected = None if value is None else pytest.approx(value)
    assert summary["mIoU"] == summary["mIoU_other"] == expected
    printed = capsys.readouterr().out
    assert words in printed
    for key in ("mBF1", "mBIoU", "mHD"):
        assert (f"{key} is undefined (NaN)" in printed or f"{key}, mHD95" in printed) == (
            summary[key] is None
        )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.png", np.uint8),
        ("a.png", np.uint16),
        ("palette.png", np.uint8),
        ("a.tif", np.uint8),
        ("a.tiff", np.uint16),
        ("a.tiff", np.int32),
        ("a.bmp", np.uint8),
        ("a.npy", np.uint8),
        ("a.npy", np.int64),
        ("a.npy", np.uint64),
    ],
)
def test_formats_of_label_maps_give_the_same(tmp_path: Path, name: str, kind: Any) -> None:
    _save(LABELS.astype(kind), tmp_path / "truth" / name)
    _save(FOUND.astype(kind), tmp_path / "found" / name)
    sides = ["--truth", tmp_path / "truth", "--predictions", tmp_path / "found"]
    out = tmp_path / "out.json"
    assert _evaluate("semantic", *sides, "--classes", "road,sky", "--json", out) == 0
    # road: 2 of 3; sky: 1 of 2; the last column is ignored.
    assert _summary(out)["mIoU"] == pytest.approx(100 * (2 / 3 + 1 / 2) / 2)


@pytest.mark.parametrize(
    ("side", "labels", "message"),
    [
        ("truth", LABELS + 256, "truth/a.npy: the truth has the unknown categories [256, 257, 511"),
        ("found", FOUND + 2**40, "found/a.npy: the prediction has the unknown categories [109951"),
        ("found", FOUND - 1, "found/a.npy: the prediction has the unknown categories [-1]"),
        ("found", FOUND.astype(float), "labels are one whole number per pixel"),
        ("truth", LABELS[:2], "found/a.npy: has the size (4, 5), the truth (2, 5)"),
        ("found", LABELS[..., None], "has the shape (4, 5, 1)"),
    ],
)
def test_wrong_labels_are_named(
    tmp_path: Path, capsys: Captured, side: str, labels: np.ndarray, message: str
) -> None:
    files = _semantic(tmp_path, LABELS, FOUND)
    np.save(tmp_path / side / "a.npy", labels)
    assert _evaluate("semantic", *files, "--classes", "road,sky") == 2
    assert message in capsys.readouterr().err


def test_two_files_of_one_name_are_named(tmp_path: Path, capsys: Captured) -> None:
    files = _semantic(tmp_path, LABELS, FOUND)
    _save(FOUND.astype(np.uint8), tmp_path / "found/a.png")
    assert _evaluate("semantic", *files, "--classes", "road,sky") == 2
    assert "found/a.png: is a second label map of that name, beside a.npy" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--classes", "road,road"], "each has a name of its own"),
        (["--classes", "road,"], "each has a name of its own"),
        (["--classes", "road,sky", "--spacing", 0, 1], "height and width of a pixel are above 0"),
    ],
)
def test_wrong_options_are_named(
    tmp_path: Path, capsys: Captured, options: list[Any], message: str
) -> None:
    assert _evaluate("semantic", *_semantic(tmp_path, LABELS, FOUND), *options) == 2
    assert message in capsys.readouterr().err


def test_a_negative_number_of_draws_is_a_mistake(tmp_path: Path) -> None:
    files = _semantic(tmp_path, LABELS, FOUND)
    with pytest.raises(SystemExit):
        _evaluate("semantic", *files, "--classes", "road,sky", "--bootstrap", -4)


# -- Cityscapes ------------------------------------------------------------------------------------


def _city(folder: Path, value: int, lines: str = "") -> list[Any]:
    """The gtFine of one image that holds one id, label maps of 0 and a text file of masks."""
    stem = "ulm_000000_000019"
    ids = np.full(SIZE, value, dtype=np.uint16)
    labels = np.full(SIZE, value if value < 1000 else value // 1000, dtype=np.uint8)
    for kind, pixels in (("instanceIds", ids), ("labelIds", labels)):
        _save(pixels, folder / f"val/{stem}_gtFine_{kind}.png")
    _save(np.zeros(SIZE, dtype=np.uint8), folder / f"found/{stem}.png")
    _save(np.ones(SIZE, dtype=np.uint8), folder / "found/masks_0_0.png")
    (folder / f"found/{stem}.txt").write_text(lines)
    return ["--truth", folder / "val", "--predictions", folder / "found"]


@pytest.mark.parametrize(
    ("value", "lines", "expected", "words"),
    [
        (26001, "", 0, "AP is 0: nothing was predicted"),
        (0, "", None, "no instance to find: AP is undefined (NaN); there are 0 predictions"),
        (26, "masks_0_0.png 26 0.5", None, "no instance to find: AP is undefined (NaN); there are"),
        (26001, "masks_0_0.png 26 0.5", 100, ""),
    ],
    ids=["no prediction", "void", "group", "one class"],
)
def test_extreme_instances_of_cityscapes(
    tmp_path: Path, capsys: Captured, value: int, lines: str, expected: float | None, words: str
) -> None:
    files, out = _city(tmp_path, value, lines), tmp_path / "out.json"
    assert _evaluate("cityscapes", *files, "--instances", "--json", out) == 0
    assert _summary(out)["AP"] == expected
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(("value", "expected"), [(0, None), (26001, 0), (26, 0)])
def test_extreme_labels_of_cityscapes(tmp_path: Path, value: int, expected: float | None) -> None:
    files, out = _city(tmp_path, value), tmp_path / "out.json"
    assert _evaluate("cityscapes", *files, "--json", out, "--csv", tmp_path / "out.csv") == 0
    assert _summary(out)["mIoU"] == expected


def test_folders_without_images_are_named(tmp_path: Path, capsys: Captured) -> None:
    for name in ("truth", "found"):
        (tmp_path / name).mkdir()
    sides = ["--truth", tmp_path / "truth", "--predictions", tmp_path / "found"]
    assert _evaluate("cityscapes", *sides) == 2
    assert "No CITY/*_gtFine_instanceIds.png in" in capsys.readouterr().err
    assert _evaluate("semantic", *sides, "--classes", "road") == 2
    assert "No label map (.bmp, .npy, .png" in capsys.readouterr().err
