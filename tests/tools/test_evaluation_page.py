"""docs/evaluation.md: its commands run as written, its keys are those of the output."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from tiny_runs import REPOSITORY, tool_main

from seg_projects.evaluation.image_states import SemanticStates, write_states

PAGE = (REPOSITORY / "docs" / "evaluation.md").read_text()
COMMANDS = re.findall(r"^python tools/(\w+)\.py ([^#\n]*)", PAGE, flags=re.MULTILINE)
OF_FILES = [line for tool, line in COMMANDS if tool == "evaluate"]
OF_RUNS = [(tool, line) for tool, line in COMMANDS if tool != "evaluate"]
IDS = np.array([[3, 3, 3, 3], [1, 1, 2, 2]])
SEGMENTS = [(1, 8, 0), (2, 3, 0), (3, 5, 0)]
STEM = "ulm_000000_000019"


def _keys(section: str) -> set[str]:
    """What the first cells of the tables below a heading define."""
    text = PAGE.split(f"## {section}", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (`[^|]*) \|", text, flags=re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`([^`]+)`", row)}


KEYS = {name: _keys(name) for name in ("Panoptic", "Instances", "Semantic", "Cityscapes")}
OF_DRAWS = _keys("Two runs")


def _panoptic(folder: Path, args: Any, write_panoptic: Callable[..., Path]) -> None:
    for json_file, masks in (
        (args.truth, args.truth_masks),
        (args.predictions, args.prediction_masks),
        (args.compare, args.compare_masks),
    ):
        if json_file:
            ids = IDS if json_file == args.truth else np.where(IDS == 1, 2, IDS)
            segments = [s for s in SEGMENTS if (ids == s[0]).any()]
            path = write_panoptic(folder / f"made_{json_file}", [(ids, segments)])
            path.rename(folder / json_file)
            (path.parent / "masks").rename(folder / masks)


def _instances(folder: Path, args: Any) -> None:
    square = {"segmentation": [[0, 0, 40, 0, 40, 40, 0, 40]], "bbox": [0, 0, 40, 40]}
    entry = {"image_id": 0, "category_id": 1, **square}
    truth = {
        "images": [{"id": 0, "height": 50, "width": 50, "file_name": "0.jpg"}],
        "annotations": [{**entry, "id": 1, "area": 1600, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (folder / args.truth).write_text(json.dumps(truth))
    for path in filter(None, (args.predictions, args.compare)):
        (folder / path).write_text(json.dumps([{**entry, "score": 0.5}]))


def _save(path: Path, labels: Any, kind: Any = np.uint8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(labels, dtype=kind)).save(path)


def _semantic(folder: Path, args: Any) -> None:
    for path in filter(None, (args.truth, args.predictions, args.compare)):
        _save(folder / path / "a.png", [[0, 0, 1, 1]] * 2)


def _cityscapes(folder: Path, args: Any) -> None:
    ids = np.full((12, 12), 26001)
    _save(folder / args.truth / f"ulm/{STEM}_gtFine_instanceIds.png", ids, np.uint16)
    _save(folder / args.truth / f"ulm/{STEM}_gtFine_labelIds.png", ids // 1000)
    found = folder / args.predictions
    if args.instances:
        _save(found / "masks/car.png", ids > 0)
        (found / f"{STEM}.txt").write_text("masks/car.png 26 0.5")
    else:
        _save(found / f"{STEM}_labels.png", ids // 1000)


def _runs(folder: Path, args: Any) -> None:
    for path in (args.first, args.second):
        (folder / path / "inference/val").mkdir(parents=True)
        states = SemanticStates(np.arange(4), np.full((4, 3, 1), 10))
        write_states(folder / path / "inference/val/semantic_images.npz", states)


@pytest.fixture
def evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_panoptic: Any
) -> Callable[[str], dict[str, Any]]:
    """Runs a command of the page on files that it names; the JSON of its numbers."""
    main = tool_main("evaluate")
    parser = main.__globals__["build_parser"]()
    monkeypatch.chdir(tmp_path)

    def run(line: str) -> dict[str, Any]:
        words = shlex.split(line)
        args = parser.parse_args(words)
        if args.kind == "panoptic":
            _panoptic(tmp_path, args, write_panoptic)
        else:
            makers = {"instances": _instances, "semantic": _semantic, "runs": _runs}
            makers.get(args.kind, _cityscapes)(tmp_path, args)
        assert main(words) == 0
        for path in filter(None, (getattr(args, "json", None), getattr(args, "csv", None))):
            assert (tmp_path / path).is_file()
        if args.kind == "runs":
            return {}
        assert main([*words, "--json", "numbers.json"]) == 0
        return json.loads((tmp_path / "numbers.json").read_text())

    return run


def test_the_page_has_a_command_for_each_kind_of_files() -> None:
    kinds = {line.split()[0] for line in OF_FILES}
    assert kinds == {"panoptic", "instances", "semantic", "cityscapes", "runs"}
    assert {tool for tool, _ in OF_RUNS} == {"train_net", "report"}


@pytest.mark.parametrize("line", OF_FILES)
def test_commands_of_files_run_as_written(
    line: str, evaluated: Callable[[str], dict[str, Any]]
) -> None:
    evaluated(line)


def _named(keys: Iterable[str]) -> set[str]:
    """Keys without the name of a class, and those of drawn data sets as the page writes them."""
    return {re.sub(r"^(PQ|AP|mIoU)_(?=[lhodp])", "METRIC_", key) for key in keys}


def _of_one_file(content: dict[str, Any]) -> set[str]:
    columns = {f"{key}-NAME" for row in content["per_category"].values() for key in row}
    return _named(content["summary"]) | columns


@pytest.mark.parametrize("section", ["Panoptic", "Instances", "Semantic"])
def test_files_have_the_keys_of_the_page(
    section: str, evaluated: Callable[[str], dict[str, Any]]
) -> None:
    first = next(line for line in OF_FILES if line.startswith(section.lower()))
    compared = next(
        line for line in OF_FILES if line.startswith(section.lower()) and "--compare" in line
    )
    words = " ".join(compared.split("--compare", 1)[1].split(" --bootstrap")[0].split())
    content = evaluated(f"{first} --compare {words} --bootstrap 10")
    keys = {key.removesuffix("-NAME") for key in _of_one_file(content)}
    keys = {re.sub(r"_(th|st)$", "", key) for key in keys}
    defined = {key.removesuffix("-NAME") for key in KEYS[section]}
    assert keys == defined | OF_DRAWS


def test_cityscapes_files_have_the_keys_of_the_page(
    evaluated: Callable[[str], dict[str, Any]],
) -> None:
    lines = [line for line in OF_FILES if line.startswith("cityscapes")]
    keys = set().union(*(_of_one_file(evaluated(line)) for line in lines))
    keys = {key.removesuffix("-NAME") for key in keys}
    # Detectron2's names of the means are those of the evaluator.
    of_evaluator = {"IoU_sup", "iIoU_sup"}
    assert keys == {key.removesuffix("-NAME") for key in KEYS["Cityscapes"]} - of_evaluator


def test_a_trained_run_has_the_keys_of_the_page(
    tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "output/quickstart"
    shutil.copytree(tiny_run.output, folder)
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["OUTPUT_DIR"] = "output/quickstart"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for tool, line in OF_RUNS:
        assert tool_main(tool)(shlex.split(line)) == 0
    assert "Worst images" in (folder / "report.html").read_text()
    results = json.loads((folder / "evaluation.json").read_text())
    assert set(results) == {"panoptic_seg", "bbox", "segm", "sem_seg"}
    of_files = {"TP", "FP", "FN", "BTP", "BFP", "BFN", "truths", "predictions"}
    of_files |= {"right", "taken", "ignored", "elsewhere"}
    names = [c["name"] for c in _categories(tiny_run.root)] + ["things"]
    for task, section in (
        ("panoptic_seg", "Panoptic"),
        ("segm", "Instances"),
        ("sem_seg", "Semantic"),
    ):
        keys = {_without_name(key, names) for key in results[task]}
        keys = {re.sub(r"_(th|st)$", "", key) for key in keys}
        defined = {key.removesuffix("-NAME") for key in KEYS[section]}
        assert defined - of_files <= keys <= defined
    assert {_without_name(key, names) for key in results["bbox"]} <= KEYS["Instances"]


def _categories(root: Path) -> list[dict[str, Any]]:
    path = root / "shapes/annotations/panoptic_val.json"
    return json.loads(path.read_text())["categories"]


def _without_name(key: str, names: list[str]) -> str:
    return next((key.removesuffix(f"-{name}") for name in names if key.endswith(f"-{name}")), key)
