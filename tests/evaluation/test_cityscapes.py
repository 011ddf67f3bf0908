"""Cityscapes' protocols: equal to cityscapesScripts on generated files, and by hand."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import tool_main

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Instances
from seg_projects.errors import UserError
from seg_projects.evaluation import build_evaluator
from seg_projects.evaluation.cityscapes_files import (
    evaluate_cityscapes_instances,
    evaluate_cityscapes_labels,
    read_predicted_masks,
)
from seg_projects.evaluation.cityscapes_precision import (
    LABELS,
    PredictedMask,
    cityscapes_precision,
    pair_image,
)
from seg_projects.evaluation.cityscapes_semantic import NAMES

SHAPE = (64, 96)
STEMS = [f"ulm_00000{number}_000019" for number in range(3)]


def _truth(rng: np.random.Generator) -> np.ndarray:
    """Instance ids: stuff, void, groups, unjudged things, small and large instances."""
    ids = rng.choice([0, 4, 7, 8, 11, 21, 23, 9, 18], SHAPE).astype(np.int32)
    ids = ids[::16, ::16].repeat(16, axis=0).repeat(16, axis=1)
    for number in range(16):
        label = int(rng.choice([*LABELS, 24, 26, 26, 29]))
        (y, x), (h, w) = rng.integers(0, SHAPE), rng.integers(5, 30, 2)
        ids[y : y + h, x : x + w] = label if number % 6 == 5 else label * 1000 + number
    return ids


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """gtFine/val, and a folder of labels/ and of instances/: text files and masks; all random."""
    rng = np.random.default_rng(3)
    truth, found = tmp_path / "gtFine/val", tmp_path / "found"
    (truth / "ulm").mkdir(parents=True)
    for kind in ("labels", "instances/masks"):
        (found / kind).mkdir(parents=True)
    for stem in STEMS:
        ids = _truth(rng)
        labels = np.where(ids < 1000, ids, ids // 1000).astype(np.uint8)
        Image.fromarray(ids.astype(np.uint16)).save(truth / f"ulm/{stem}_gtFine_instanceIds.png")
        Image.fromarray(labels).save(truth / f"ulm/{stem}_gtFine_labelIds.png")
        noise = rng.random(SHAPE) < 0.2
        guess = np.where(noise, rng.integers(0, 34, SHAPE), np.roll(labels, 2, axis=1))
        Image.fromarray(guess.astype(np.uint8)).save(found / f"labels/{stem}_labels.png")
        lines = []
        for number, segment in enumerate(i for i in np.unique(ids) if i >= 24):
            label = segment // 1000 if segment >= 1000 else segment
            for copy in range(2):
                mask = np.roll(ids == segment, rng.integers(-2, 3), axis=copy)
                name = f"masks/{stem}_{number}_{copy}.png"
                Image.fromarray(mask.astype(np.uint8) * 255).save(found / "instances" / name)
                lines.append(f"{name} {label} {rng.choice([0.2, 0.5, 0.5, 0.9])}")
        (found / f"instances/{stem}.txt").write_text("\n".join(lines))
    return truth, found


@pytest.fixture
def _room_for_theirs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # where it leaves files
    # cityscapesScripts 2.3 uses a name that numpy 2.4 has no more.
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)


def _their_labels(truth: Path, found: Path) -> dict[str, Any]:
    script = pytest.importorskip(
        "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling",
        reason="cityscapesScripts is an independent check",
    )
    script.args.JSONOutput = False
    script.args.quiet = True
    files = [sorted(truth.rglob("*labelIds.png")), sorted(found.glob("*.png"))]
    return script.evaluateImgLists(*[[str(p) for p in side] for side in files[::-1]], script.args)


@pytest.mark.usefixtures("_room_for_theirs")
def test_label_scores_equal_cityscapesscripts(folders: tuple[Path, Path]) -> None:
    truth, found = folders[0], folders[1] / "labels"
    theirs = _their_labels(truth, found)
    ours = evaluate_cityscapes_labels(truth, found, train_ids=False)
    keys = {"IoU": ("classScores", "categoryScores")}
    keys["iIoU"] = ("classInstScores", "categoryInstScores")
    compared = 0
    for key, parts in keys.items():
        for name, value in [pair for part in parts for pair in theirs[part].items()]:
            if name in ours.per_category:
                own = ours.per_category[name][key]
                assert own == pytest.approx(100 * value, abs=1e-9, nan_ok=True)
                compared += not np.isnan(own)
    assert compared > 30
    averages = ["averageScoreClasses", "averageScoreInstClasses"]
    averages += ["averageScoreCategories", "averageScoreInstCategories"]
    expected = [100 * theirs[key] for key in averages]
    assert list(ours.summary.values()) == pytest.approx(expected, abs=1e-9)


def _their_instances(truth: Path, found: Path) -> dict[str, Any]:
    script = pytest.importorskip(
        "cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling",
        reason="cityscapesScripts is an independent check",
    )
    script.args.JSONOutput, script.args.quiet = False, True
    script.writeDict2JSON = lambda *_: None  # which does not know numpy's numbers
    script.args.predictionPath = str(found)
    script.args.gtInstancesFile = str(found / "instances.json")
    files = [sorted(found.glob("*.txt")), sorted(truth.rglob("*instanceIds.png"))]
    with contextlib.redirect_stdout(io.StringIO()):
        predicted, true = ([str(path) for path in side] for side in files)
        return script.evaluateImgLists(predicted, true, script.args)["averages"]


@pytest.mark.usefixtures("_room_for_theirs")
def test_instance_precision_equals_cityscapesscripts(folders: tuple[Path, Path]) -> None:
    truth, found = folders[0], folders[1] / "instances"
    theirs, ours = _their_instances(truth, found), evaluate_cityscapes_instances(truth, found)
    expected = {"AP": 100 * theirs["allAp"], "AP50": 100 * theirs["allAp50%"]}
    assert ours.summary == pytest.approx(expected, abs=1e-9)
    assert 5 < ours.summary["AP"] < 95
    for name, values in theirs["classes"].items():
        row = {"AP": 100 * values["ap"], "AP50": 100 * values["ap50%"]}
        assert ours.per_category[name] == pytest.approx(row, abs=1e-9, nan_ok=True)


@pytest.fixture
def registered(folders: tuple[Path, Path]) -> Iterator[dict[str, Any]]:
    """Data sets of labels and of instances as Detectron2 declares them; records by name."""
    truth, names = folders[0], list(NAMES.values())
    things = [NAMES[label] for label in LABELS]
    records = [{"file_name": f"leftImg8bit/val/ulm/{s}_leftImg8bit.png"} for s in STEMS]
    for kind in ("instance", "sem_seg"):
        DatasetCatalog.register(f"tiny_{kind}", lambda: records)
        MetadataCatalog.get(f"tiny_{kind}").set(
            gt_dir=str(truth),
            evaluator_type=f"cityscapes_{kind}",
            thing_classes=things,
            stuff_classes=names,
        )
    yield dict(zip(STEMS, records, strict=True))
    for kind in ("instance", "sem_seg"):
        DatasetCatalog.remove(f"tiny_{kind}")
        MetadataCatalog.remove(f"tiny_{kind}")


def _result(evaluator: Any) -> dict[str, float]:
    """The numbers of the one task."""
    [scores] = evaluator.evaluate().values()
    return scores


def test_a_models_instances_score_as_their_files(
    folders: tuple[Path, Path], registered: dict[str, Any], tmp_path: Path
) -> None:
    found = folders[1] / "instances"
    evaluator = build_evaluator("tiny_instance", tmp_path / "out")
    evaluator.reset()
    for stem, record in registered.items():
        masks = list(read_predicted_masks(found / f"{stem}.txt", found))
        masks = [mask for mask in masks if mask.label in LABELS]
        instances = Instances(SHAPE)
        instances.pred_masks = torch.from_numpy(np.stack([mask.mask for mask in masks]))
        instances.pred_classes = torch.tensor([LABELS.index(mask.label) for mask in masks])
        instances.scores = torch.tensor([mask.score for mask in masks], dtype=torch.float64)
        evaluator.process([record], [{"instances": instances}])
    result, expected = _result(evaluator), evaluate_cityscapes_instances(folders[0], found)
    assert result["AP"] == expected.summary["AP"]
    assert result["AP-car"] == expected.per_category["car"]["AP"]
    assert (tmp_path / "out/cityscapes_instances.json").is_file()


def test_a_models_logits_score_as_their_label_maps(
    folders: tuple[Path, Path], registered: dict[str, Any], tmp_path: Path
) -> None:
    evaluator = build_evaluator("tiny_sem_seg", tmp_path / "out")
    evaluator.reset()
    assert np.isnan(_result(evaluator)["IoU"])
    for stem, record in registered.items():
        logits = torch.randn(len(NAMES), *SHAPE)
        evaluator.process([record], [{"sem_seg": logits}])
        ids = np.array(list(NAMES))[logits.argmax(dim=0).numpy()].astype(np.uint8)
        Image.fromarray(ids).save(folders[1] / f"labels/{stem}_labels.png")
    expected = evaluate_cityscapes_labels(folders[0], folders[1] / "labels", train_ids=False)
    result = _result(evaluator)
    means = [result[key] for key in ("IoU", "iIoU", "IoU_sup", "iIoU_sup")]
    assert means == list(expected.summary.values())


def _precision(ids: np.ndarray, masks: list[PredictedMask]) -> float:
    return cityscapes_precision([pair_image(ids, masks)]).per_category["car"]["AP50"]


def test_regions_that_do_not_count_forgive_predictions() -> None:
    ids = np.full((40, 40), 7)
    ids[:20, :20], ids[:20, 20:], ids[20:, :20] = 26001, 26, 0
    car, group, void, road = (ids == value for value in (26001, 26, 0, 7))
    right = PredictedMask(26, 0.5, car)
    assert _precision(ids, [right]) == 100
    assert _precision(ids, [right, PredictedMask(26, 0.9, group)]) == 100
    assert _precision(ids, [right, PredictedMask(26, 0.9, void)]) == 100
    # On the road and better than the right one: precision 1/2 at recall 1, 0 at recall 0; each
    # counts for half of the way between them.
    assert _precision(ids, [right, PredictedMask(26, 0.9, road)]) == pytest.approx(25)


def test_nothing_predicted_is_0_and_nothing_to_find_is_undefined() -> None:
    ids = np.full((20, 20), 26001)
    assert _precision(ids, []) == 0
    assert np.isnan(_precision(np.full((20, 20), 7), [PredictedMask(26, 1.0, ids > 0)]))
    assert np.isnan(cityscapes_precision([]).summary["AP"])


def test_the_tool_scores_train_ids_and_names_what_is_wrong(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, found = folders
    tool: Callable[[list[str]], int] = tool_main("evaluate")
    sides = ["cityscapes", "--truth", str(truth), "--predictions"]
    labels, json_file = [*sides, str(found / "labels")], tmp_path / "out.json"
    assert tool([*labels, "--json", str(json_file)]) == 0
    assert json.loads(json_file.read_text())["summary"].keys() >= {"mIoU", "miIoU_category"}
    masks = [*sides, str(found / "instances"), "--instances"]
    assert tool([*masks, "--fail-under", "car/AP50=100.1"]) == 1
    # 33 is a bicycle's label id and no train id.
    assert tool([*labels, "--train-ids"]) == 2
    assert f"{STEMS[0]}_labels.png: " in capsys.readouterr().err
    for path in (found / "labels").iterdir():
        ids = np.full(SHAPE, 255, dtype=np.uint8)
        ids[:10] = 13
        Image.fromarray(ids).save(path)
    # A car is 13 as a train id, 26 as a label id.
    assert tool([*labels, "--train-ids", "--json", str(json_file)]) == 0
    assert json.loads(json_file.read_text())["per_category"]["car"]["IoU"] > 0


def test_missing_and_doubled_predictions_are_named(folders: tuple[Path, Path]) -> None:
    found = folders[1] / "labels"
    (found / f"{STEMS[1]}_labels.png").rename(found / f"{STEMS[0]}_again.png")
    with pytest.raises(UserError, match=r"(?s)has 2 predictions.*has no prediction"):
        evaluate_cityscapes_labels(folders[0], found, train_ids=False)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("../gtFine/x.png 26 0.5", r"line 2 names \.\./gtFine/x\.png, which is outside"),
        ("masks/x.png 26", "line 2 is 'masks/x.png 26', not 'MASK.png LABEL_ID SCORE'"),
        ("masks/x.png 26 0.5", r"masks/x\.png cannot be read"),
        ("{first}", r"line 2 names masks/.*\.png again"),
        ("masks/x.png car 0.5", "line 2 has the class 'car' where its label id belongs, 26"),
        ("masks/x.png vespa 0.5", "line 2 is 'masks/x.png vespa 0.5', not 'MASK.png LABEL_ID"),
        ("masks/x.png 99 0.5", "line 2 has the label id 99, which .* judged are 24 person, .*26"),
        ("masks/x.png 26 nan", "line 2 has the score NaN"),
    ],
)
def test_wrong_lines_are_named(folders: tuple[Path, Path], line: str, message: str) -> None:
    file = folders[1] / f"instances/{STEMS[0]}.txt"
    first = file.read_text().splitlines()[0]
    file.write_text(f"{first}\n{line.format(first=first)}")
    with pytest.raises(UserError, match=f"(?s){STEMS[0]}.txt: .*{message}"):
        evaluate_cityscapes_instances(folders[0], folders[1] / "instances")


def test_labels_that_are_not_judged_are_left_out_as_by_the_benchmark(
    folders: tuple[Path, Path],
) -> None:
    truth, found = folders[0], folders[1] / "instances"
    expected = evaluate_cityscapes_instances(truth, found)
    for label in (29, 7, 0, -1):  # a caravan, road, nothing, a licence plate
        for stem in STEMS:
            mask = found / f"masks/more{label}_{stem}.png"
            Image.fromarray(np.full(SHAPE, 255, dtype=np.uint8)).save(mask)
            with (found / f"{stem}.txt").open("a") as file:
                file.write(f"\nmasks/{mask.name} {label} 0.9")
    assert evaluate_cityscapes_instances(truth, found).summary == expected.summary


@pytest.mark.parametrize("kind", ["instance", "sem_seg"])
def test_a_data_set_with_a_class_that_cityscapes_lacks_is_named(
    registered: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    names = {"instance": "thing_classes", "sem_seg": "stuff_classes"}
    MetadataCatalog.remove(f"tiny_{kind}")
    MetadataCatalog.get(f"tiny_{kind}").set(
        evaluator_type=f"cityscapes_{kind}", gt_dir="", **{names[kind]: ["car", "vespa", "caravan"]}
    )
    with pytest.raises(UserError, match=f"tiny_{kind}: Cityscapes has no class 'vespa' .*1 of 3"):
        build_evaluator(f"tiny_{kind}", tmp_path)
