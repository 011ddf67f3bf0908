"""The commands of README.md and datasets/README.md, as they are written there."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from tiny_runs import REPOSITORY, tool_main
from tool_exports import EXPORTS, NAMES

from detectron2.data import DatasetCatalog
from seg_projects.engine import load_config
from seg_projects.engine.setup import prepare

COUNT = 5
# What makes a run of seconds out of a run of minutes, not of another kind.
SHORT = (
    *("SOLVER.MAX_ITER", "1", "SOLVER.CHECKPOINT_PERIOD", "1", "SOLVER.WARMUP_ITERS", "0"),
    *("DATALOADER.NUM_WORKERS", "0", "MODEL.DEVICE", "cpu"),
    *("INPUT.MIN_SIZE_TRAIN", "[64]", "INPUT.MIN_SIZE_TEST", "64"),
)


def _commands(page: str, *, tool: str, after: str) -> list[list[str]]:
    """The words of each line that calls ``tool`` below the heading ``after``."""
    section = (REPOSITORY / page).read_text(encoding="utf-8").split(after, 1)[1]
    section = re.split(r"\n## ", section, maxsplit=1)[0].replace("\\\n", " ")
    lines = re.findall(rf"^ *python tools/{tool}\.py (.*)$", section, flags=re.MULTILINE)
    return [shlex.split(line) for line in lines]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own, which commands start from."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(REPOSITORY / "configs")
    return tmp_path


def test_readme_walks_from_annotations_to_masks(workplace: Path) -> None:
    EXPORTS["labelme"][0](workplace / "photos", COUNT)
    words = {
        tool: _commands("README.md", tool=tool, after="## Train on your own data")[0]
        for tool in ("convert", "train_net", "predict")
    }
    assert tool_main("convert")(words["convert"]) == 0
    assert tool_main("train_net")([*words["train_net"], *SHORT]) == 0
    assert tool_main("predict")(words["predict"]) == 0
    assert len(list(Path("output/my_predictions/overlays").iterdir())) == COUNT
    model = torch.load("output/my/model_final.pth", weights_only=True)["model"]
    assert model["roi_heads.box_predictor.cls_score.weight"].shape[0] == len(NAMES) + 1


def _conversion(tool: str) -> list[str]:
    (words,) = [
        words
        for words in _commands("datasets/README.md", tool="convert", after="## Your own")
        if words[0] == tool and "--config-out" in words
    ]
    return words


@pytest.mark.parametrize("tool", [tool for tool in EXPORTS if tool != "labelme"])
def test_line_of_the_page_gives_a_sound_config(workplace: Path, tool: str) -> None:
    write, source = EXPORTS[tool]
    write(workplace / source, COUNT)
    words = _conversion(tool)
    assert words[1] == source
    assert tool_main("convert")(words) == 0
    file = words[words.index("--config-out") + 1]
    cfg = load_config(file, ["MODEL.DEVICE", "cpu"])
    # Checks files, class counts and data before a first iteration would begin.
    prepare(cfg, argparse.Namespace(config_file=file, eval_only=False, resume=False))
    sizes = [len(DatasetCatalog.get(n)) for n in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)]
    assert sizes == [COUNT - 1, 1]


def test_panoptic_config_trains(workplace: Path) -> None:
    EXPORTS["labelme"][0](workplace / "photos", COUNT)
    words = "labelme photos --output mine --held-out 0.2 --config-out mine.yaml"
    classes = "--things disc --stuff box rest --unlabelled rest"
    assert tool_main("convert")(f"{words} {classes}".split()) == 0
    content = yaml.safe_load(Path("mine.yaml").read_text())
    assert content["MODEL"]["ROI_HEADS"] == {"NUM_CLASSES": 1}
    assert content["MODEL"]["SEM_SEG_HEAD"] == {"NUM_CLASSES": 3}
    assert content["_BASE_"].endswith("configs/base_panoptic_fpn.yaml")
    assert (
        tool_main("train_net")(["--config-file", "mine.yaml", *SHORT, "DATASETS.TEST", "()"]) == 0
    )
    assert Path("output/mine/model_final.pth").is_file()


def test_lines_for_a_config_of_ones_own_are_printed(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    EXPORTS["labelme"][0](workplace / "photos", COUNT)
    assert tool_main("convert")(["labelme", "photos", "--output", "mine", "--to", "instances"]) == 0
    block = yaml.safe_load(capsys.readouterr().out.split("\n\n")[1])
    assert block["MODEL"] == {"ROI_HEADS": {"NUM_CLASSES": 2}}
    (entry,) = block["DATASETS"]["INSTANCES"]
    assert entry == {"NAME": "mine_train", "IMAGES": "train", "INSTANCES_JSON": "train.json"}
    assert block["DATASETS"]["TEST"] == []


def test_parts_converted_one_by_one_are_trained_and_tested_with(workplace: Path) -> None:
    write = EXPORTS["label-maps"][0]
    words = "--images photos --names names.txt --to label-maps --output mine"
    write(workplace / "masks", 2)
    assert tool_main("convert")(f"label-maps masks {words}".split()) == 0
    more = "--name val --categories mine/train_classes.txt --config-out mine.yaml"
    assert tool_main("convert")(f"label-maps masks {words} {more}".split()) == 0
    content = yaml.safe_load(Path("mine.yaml").read_text())["DATASETS"]
    assert [e["STEMS"] for e in content["SEMANTIC"]] == ["train.txt", "val.txt"]
    assert content["SEMANTIC"][0]["CLASSES"] == ["background", "disc", "box"]
    assert (content["TRAIN"], content["TEST"]) == (["mine_train"], ["mine_val"])


def test_parts_of_other_categories_are_no_data_set(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    EXPORTS["labelme"][0](workplace / "photos", 2)
    words = "labelme photos --output mine --to instances --config-out mine.yaml"
    assert tool_main("convert")(f"{words} --name train --things disc box".split()) == 0
    Path("mine.yaml").unlink()
    assert tool_main("convert")(f"{words} --name val --things box disc".split()) == 2
    assert "convert it again with --categories mine/train.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--held-out 1.5", "between 0 and 1"),
        ("--held-out 0.2 --name train", "one of the parts"),
        ("--to two-channels --config-out my.yaml", "no format to train with"),
        ("--config-out there.yaml", "there.yaml exists: remove it"),
        ("--config-base absent.yaml", "absent.yaml does not exist"),
        ("--to panoptic --stuff * --config-out my.yaml", "convert --to label-maps"),
        ("--to instances --ignore disc box --config-out my.yaml", "nothing to train for"),
    ],
)
def test_mistakes_are_one_message(
    workplace: Path, capsys: pytest.CaptureFixture[str], options: str, message: str
) -> None:
    EXPORTS["labelme"][0](workplace / "photos", 2)
    Path("there.yaml").touch()
    assert tool_main("convert")(f"labelme photos --output mine {options}".split()) == 2
    assert message in capsys.readouterr().err
    assert not Path("my.yaml").exists()


def test_images_of_subfolders_become_one_folder_of_label_maps(workplace: Path) -> None:
    words = ["labelme", "photos"]
    for folder in ("a", "b"):
        EXPORTS["labelme"][0](workplace / "photos" / folder, 1)
    assert tool_main("convert")([*words, "--output", "mine", "--to", "label-maps"]) == 0
    assert Path("mine/train.txt").read_text().split() == ["a_photo_0", "b_photo_0"]
    assert (
        Image.open("mine/train_masks/b_photo_0.png").size
        == Image.open("mine/train/b_photo_0.png").size
    )


def test_next_command_names_the_folder_that_holds_images(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    EXPORTS["supervisely"][0](workplace / "project", 2)
    words = "supervisely project --to instances --output mine --config-out mine.yaml"
    assert tool_main("convert")(words.split()) == 0
    assert "--input mine/train/ds --output" in capsys.readouterr().out
