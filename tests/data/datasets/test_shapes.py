"""The shapes data set: what its files hold, and how they come and go."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seg_projects.data.datasets import shapes, shapes_scene
from seg_projects.data.datasets.shapes import SHAPES_CATEGORIES, prepare_shapes, render_scene

SIZE = (48, 64)


def small_set(root: Path, **changes: Any) -> Path:
    arguments: dict[str, Any] = {"num_train": 3, "num_val": 2, "size": SIZE, "seed": 5}
    return prepare_shapes(root, **(arguments | changes))


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def read_ids(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(np.int64) @ [1, 256, 65536]


def test_equal_arguments_give_identical_files(tmp_path: Path) -> None:
    first, second = (contents(small_set(tmp_path / name)) for name in ("a", "b"))
    assert len(first) == 2 * (3 + 2) + 2
    assert first == second


@pytest.mark.parametrize(
    "other", [("val", 4, SIZE, 0), ("train", 5, SIZE, 0), ("train", 4, SIZE, 1)]
)
def test_split_index_and_seed_each_change_the_scene(other: tuple[Any, ...]) -> None:
    split, index, size, seed = other
    scene = render_scene("train", 4, size=SIZE, seed=0)
    assert not np.array_equal(
        scene.image_rgb, render_scene(split, index, size=size, seed=seed).image_rgb
    )


def test_more_scenes_leave_the_first_ones_as_they_were(tmp_path: Path) -> None:
    few, many = small_set(tmp_path / "few"), small_set(tmp_path / "many", num_train=4, num_val=3)
    for name in ("train/0000003.jpg", "annotations/panoptic_val/1000002.png"):
        assert (few / name).read_bytes() == (many / name).read_bytes()


@pytest.mark.parametrize("split", ["train", "val"])
def test_json_describes_the_png_files(tmp_path: Path, split: str) -> None:
    folder = small_set(tmp_path)
    listing = json.loads((folder / f"annotations/panoptic_{split}.json").read_text())
    assert [i["id"] for i in listing["images"]] == [a["image_id"] for a in listing["annotations"]]
    known = {category["id"] for category in listing["categories"]}
    for image, annotation in zip(listing["images"], listing["annotations"], strict=True):
        with Image.open(folder / split / image["file_name"]) as photo:
            assert (photo.mode, photo.size) == ("RGB", (image["width"], image["height"]))
        ids = read_ids(folder / f"annotations/panoptic_{split}" / annotation["file_name"])
        segments = annotation["segments_info"]
        assert ids.shape == SIZE
        assert {s["id"] for s in segments} == set(np.unique(ids)) - {0}
        assert len({s["id"] for s in segments}) == len(segments)
        for segment in segments:
            rows, columns = np.nonzero(ids == segment["id"])
            x, y, width, height = segment["bbox"]
            assert segment["area"] == rows.size
            assert (x, x + width - 1) == (columns.min(), columns.max())
            assert (y, y + height - 1) == (rows.min(), rows.max())
            assert segment["category_id"] in known
            assert segment["iscrowd"] == 0


def test_categories_have_gaps_and_both_kinds() -> None:
    ids = [category["id"] for category in SHAPES_CATEGORIES]
    assert ids == sorted(set(ids))
    assert ids != list(range(ids[0], ids[0] + len(ids)))
    assert sorted(category["isthing"] for category in SHAPES_CATEGORIES) == [0, 0, 0, 1, 1, 1]


def test_every_category_occurs_and_ids_exceed_one_byte() -> None:
    scenes = [render_scene("train", index, size=SIZE, seed=0) for index in range(12)]
    segments = [segment for scene in scenes for segment in scene.segments_info]
    assert {s["category_id"] for s in segments} == {c["id"] for c in SHAPES_CATEGORIES}
    assert max(s["id"] for s in segments) > 65535


def test_things_occlude_one_another_and_hidden_ones_have_no_segment() -> None:
    partly = missing = 0
    for index in range(40):
        layers = shapes_scene.render_layers(np.random.default_rng([0, 0, index]), (64, 80))
        visible = np.bincount(layers.layer_map.ravel(), minlength=16)[shapes_scene.FIRST_THING :]
        segments = render_scene("train", index, size=(64, 80), seed=0).segments_info
        things = [s for s in segments if s["category_id"] < 20]
        for seen, own in zip(visible.tolist(), layers.own_areas, strict=False):
            partly += 0 < seen < own
        assert 2 <= len(layers.kinds) <= 7
        missing += len(layers.kinds) - len(things)
    assert partly >= 20
    assert missing >= 1


def test_remainders_below_the_limits_are_void(monkeypatch: pytest.MonkeyPatch) -> None:
    # 64 x 64 pixels: at least 4; a thing of 200 pixels needs ceil(0.08 * 200) = 16 of them.
    layer_map = np.zeros((64, 64), np.uint8)
    layer_map[0, :3] = shapes_scene.WATER
    layer_map[1, :4] = shapes_scene.GRASS
    layer_map[2, :15] = shapes_scene.FIRST_THING
    layer_map[3, :16] = shapes_scene.FIRST_THING + 1
    layers = shapes_scene.Layers(
        np.zeros((64, 64, 3), np.uint8), layer_map, ["disc", "star", "box"], [200, 200, 50]
    )
    monkeypatch.setattr(shapes_scene, "render_layers", lambda rng, size: layers)
    scene = render_scene("train", 0, size=(64, 64), seed=0)
    assert [s["category_id"] for s in scene.segments_info] == [20, 21, 7]
    assert np.flatnonzero(scene.segment_ids == 0).tolist() == [0, 1, 2, *range(128, 143)]


@pytest.mark.parametrize("size", [(32, 32), (33, 90), (200, 70)])
def test_any_size_from_32_pixels_on(size: tuple[int, int]) -> None:
    for index in range(6):
        scene = render_scene("val", index, size=size, seed=3)
        assert scene.image_rgb.shape == (*size, 3)
        assert scene.image_rgb.std() > 5
        assert sum(s["area"] for s in scene.segments_info) >= 0.97 * size[0] * size[1]


def test_a_finished_set_is_left_alone(tmp_path: Path) -> None:
    folder = small_set(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert small_set(tmp_path) == folder == tmp_path / "shapes"
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_what_a_killed_run_has_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / f".shapes.{'0' * 32}.tmp" / "fresh").mkdir(parents=True)
    small_set(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["shapes"]


def test_other_arguments_replace_the_whole_set(tmp_path: Path) -> None:
    folder = small_set(tmp_path)
    (folder / "derived.npz").write_bytes(b"made from the former set")
    small_set(tmp_path, num_train=1)
    assert [path.name for path in (folder / "train").iterdir()] == ["0000001.jpg"]
    assert not (folder / "derived.npz").exists()
    info = json.loads((folder / "annotations/panoptic_train.json").read_text())["info"]
    assert info["parameters"]["num_train"] == 1


def test_another_generator_version_replaces_the_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_set(tmp_path)
    monkeypatch.setattr(shapes, "GENERATOR_VERSION", shapes.GENERATOR_VERSION + 1)
    small_set(tmp_path)
    info = json.loads((folder / "annotations/panoptic_val.json").read_text())["info"]
    assert info["parameters"]["generator_version"] == shapes.GENERATOR_VERSION


@pytest.mark.parametrize(
    "name",
    [
        "train/0000002.jpg",
        "annotations/panoptic_val/1000001.png",
        "annotations/panoptic_train.json",
    ],
)
def test_a_lost_file_comes_back(tmp_path: Path, name: str) -> None:
    folder = small_set(tmp_path)
    expected = contents(folder)
    (folder / name).unlink()
    assert contents(small_set(tmp_path)) == expected


@pytest.mark.parametrize("former", [False, True])
def test_an_interrupted_write_leaves_the_former_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, former: bool
) -> None:
    if former:
        small_set(tmp_path, seed=6)
    expected = contents(tmp_path)
    calls = []

    def interrupted(split: str, index: int, **options: Any) -> shapes.ShapesScene:
        calls.append(index)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return render_scene(split, index, **options)

    monkeypatch.setattr(shapes, "render_scene", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small_set(tmp_path)
    assert contents(tmp_path) == expected
    assert [path.name for path in tmp_path.iterdir()] == (["shapes"] if former else [])


def test_foreign_files_are_not_overwritten(tmp_path: Path) -> None:
    photo = tmp_path / "shapes" / "train" / "mine.jpg"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"mine")
    with pytest.raises(ValueError, match="no shapes data set"):
        small_set(tmp_path)
    assert photo.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_train": 0}, "num_train=0"),
        ({"num_val": -1}, "num_val=-1"),
        ({"size": (31, 64)}, "size=31x64"),
        ({"seed": -2}, "seed=-2"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_set(tmp_path, **change)
    assert not list(tmp_path.iterdir())


def test_the_command_line_writes_a_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = Path(__file__).parents[3] / "datasets" / "prepare_shapes.py"
    main = runpy.run_path(str(script))["main"]
    counts = ["--num-train", "1", "--num-val", "1", "--size", "32", "48"]
    main(["--root", str(tmp_path), *counts])
    assert capsys.readouterr().out.strip() == str(tmp_path / "shapes")
    assert Image.open(tmp_path / "shapes/train/0000001.jpg").size == (48, 32)
    with pytest.raises(SystemExit):
        main(["--root", str(tmp_path), *counts, "--seed", "-1"])
    assert "seed=-1" in capsys.readouterr().err
