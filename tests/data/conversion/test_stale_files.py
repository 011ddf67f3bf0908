"""What a killed conversion has left half-written is gone after the next, and no more than that."""

from __future__ import annotations

import json
from pathlib import Path

from half_written import start_writing
from tiny_runs import tool_main
from tool_exports import write_coco, write_labelme


def _hidden(folder: Path) -> list[str]:
    return sorted(path.name.split(".")[1] for path in folder.rglob(".*"))


def test_next_conversion_removes_what_a_killed_one_has_left(tmp_path: Path) -> None:
    output = tmp_path / "out"
    places = [
        output / "train.json",
        output / "train/photo.png",
        output / "train_masks/sub/mask.png",
    ]
    # Of another part, which another process may be converting.
    others = [output / "val" / "other.png"]
    for path in (*places, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        with start_writing(path) as process:
            process.kill()
    (output / "train" / ".mine.tmp").write_text("not ours")
    arguments = ["labelme", str(write_labelme(tmp_path / "photos", 2)), "--output", str(output)]
    assert tool_main("convert")([*arguments, "--things", "*"]) == 0
    assert _hidden(output) == ["mine", "other"]
    assert len(json.loads((output / "train.json").read_text())["images"]) == 2


def test_what_a_running_process_writes_stays(tmp_path: Path) -> None:
    output = tmp_path / "out"
    (output / "train").mkdir(parents=True)
    arguments = ["labelme", str(write_labelme(tmp_path / "photos", 1)), "--output", str(output)]
    with start_writing(output / "train" / "photo.png") as process:
        assert tool_main("convert")([*arguments, "--things", "*"]) == 0
        assert _hidden(output) == ["photo"]
        process.kill()


def test_next_split_removes_what_a_killed_one_has_left(tmp_path: Path) -> None:
    source = write_coco(tmp_path / "all.json", 4)
    with start_writing(tmp_path / "train.json") as process:
        process.kill()
    arguments = [str(source), "--parts", "train=0.5", "val=0.5"]
    assert tool_main("split")(arguments) == 0
    assert _hidden(tmp_path) == []
