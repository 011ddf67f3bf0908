"""VGG Image Annotator: JSON and CSV files of each version hold the same objects."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from converted_sets import Convert, save_image

from seg_projects.data.conversion import READERS, AnnotatedImage, ConversionLog, ReaderOptions
from seg_projects.data.conversion.via_3 import project_entries
from seg_projects.errors import UserError

HEADER = "filename,file_size,file_attributes,region_count,region_id,"
HEADER += "region_shape_attributes,region_attributes"
HEADER_3 = "metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata"
TRIANGLE = {"name": "polygon", "all_points_x": [1, 6, 6], "all_points_y": [1, 1, 6]}
REGIONS: list[tuple[dict[str, Any], str]] = [
    (TRIANGLE, 'cat, "big"'),
    ({"name": "rect", "x": 2, "y": 3, "width": 4, "height": 2}, "dog"),
]
ATTRIBUTES = {
    "1": {"aname": "class", "type": 4, "options": {"0": 'cat, "big"', "1": "dog"}},
    "2": {"aname": "marks", "type": 2, "options": {"0": "torn", "1": "wet", "2": "old"}},
    "3": {"aname": "remark", "type": 1, "options": {"0": "never shown"}},
}


def _csv(rows: Sequence[Sequence[Any]], delimiter: str = ",") -> str:
    buffer = io.StringIO()
    cells = [[c if isinstance(c, str) else json.dumps(c) for c in row] for row in rows]
    csv.writer(buffer, delimiter=delimiter).writerows(cells)
    return buffer.getvalue()


def _rows_2() -> list[list[Any]]:
    """Of two images, the second without regions."""
    rows: list[list[Any]] = [
        ["a.png", 9, {}, len(REGIONS), number, shape, {"class": label}]
        for number, (shape, label) in enumerate(REGIONS)
    ]
    return [*rows, ["b.png", 7, {}, 0, 0, {}, {}]]


def _json_2(folder: Path) -> Path:
    regions = [
        {"shape_attributes": shape, "region_attributes": {"class": label}}
        for shape, label in REGIONS
    ]
    entries = {"a": {"filename": "a.png", "regions": regions}, "b": {"filename": "b.png"}}
    return _write(folder / "via.json", json.dumps({"_via_img_metadata": entries}))


def _csv_1(folder: Path) -> Path:
    return _write(folder / "via.csv", f"#{HEADER}\n" + _csv(_rows_2()))


def _csv_2(folder: Path) -> Path:
    return _write(folder / "via.csv", f"{HEADER}\n" + _csv(_rows_2()).replace("\r\n", "\n"))


def _csv_of_a_spreadsheet(folder: Path) -> Path:
    text = "\ufeff" + HEADER.replace(",", ";") + "\r\n" + _csv(_rows_2(), ";")
    return _write(folder / "via.csv", text)


def _project_3(**changes: Any) -> dict[str, Any]:
    coordinates = [[7, 1, 1, 6, 1, 6, 6], [2, 2, 3, 4, 2]]
    metadata = {
        f"1_{i}": {"vid": "1", "flg": 0, "z": [], "xy": xy, "av": {"1": str(i)}}
        for i, xy in enumerate(coordinates)
    }
    files = {
        str(i): {"fid": str(i), "fname": name, "type": 2, "loc": 1, "src": ""}
        for i, name in enumerate(("a.png", "b.png"), start=1)
    }
    views = {"1": {"fid_list": ["1"]}, "2": {"fid_list": ["2"]}}
    whole = {"project": {"vid_list": ["1", "2"]}, "config": {}, "attribute": ATTRIBUTES}
    # What describes a file as a whole has no coordinates.
    metadata["2_a"] = {"vid": "2", "flg": 0, "z": [], "xy": [], "av": {"9": "sharp"}}
    return whole | {"file": files, "view": views, "metadata": metadata} | changes


def _json_3(folder: Path) -> Path:
    return _write(folder / "project.json", json.dumps(_project_3()))


def _csv_3(folder: Path) -> Path:
    project = _project_3()
    lines = [
        "# Exported using VGG Image Annotator (http://www.robots.ox.ac.uk/~vgg/software/via)",
        "# Notes:",
        '# - metadata of {""1"":""3""} indicates attribute with id "1" set to an option "3"',
        f"# ATTRIBUTE = {json.dumps(ATTRIBUTES)}",
        f"# CSV_HEADER = {HEADER_3}",
    ]
    rows = [
        [key, [project["file"][item["vid"]]["fname"]], 0, item["z"], item["xy"], item["av"]]
        for key, item in project["metadata"].items()
    ]
    return _write(folder / "project.csv", "\n".join(lines) + "\n" + _csv(rows))


def _write(file: Path, text: str) -> Path:
    file.write_bytes(text.encode())
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images of 12 x 10 pixels."""
    for name in ("a.png", "b.png"):
        save_image(tmp_path / name, 12, 10)
    return tmp_path


def _read(source: Path, **options: Any) -> tuple[list[AnnotatedImage], dict[str, list[str]]]:
    log = ConversionLog()
    return list(READERS["via"](source, ReaderOptions(**options), log)), dict(log.entries)


WRITERS = [_json_2, _csv_1, _csv_2, _csv_of_a_spreadsheet, _json_3, _csv_3]


@pytest.mark.parametrize("write", WRITERS)
def test_every_version_and_format_gives_the_same_objects(
    folder: Path, write: Callable[[Path], Path]
) -> None:
    write(folder)
    images, notes = _read(folder)
    assert not notes
    assert [image.file_name for image in images] == ["a.png", "b.png"]
    found = [(item.label, item.mask.area, item.polygons) for item in images[0].objects]
    # With their outlines: 6 + 5 + ... + 1 pixels, and 5 x 3.
    assert found == [
        ('cat, "big"', 21, [[1, 1, 6, 1, 6, 6]]),
        ("dog", 15, [[2, 3, 6, 3, 6, 5, 2, 5]]),
    ]
    assert images[1].objects == []


def test_the_tool_converts_a_csv(folder: Path, convert: Convert) -> None:
    content = convert("via", _csv_2(folder), "--things", "*", "--to", "instances")
    assert [a["area"] for a in content["annotations"]] == [21, 15]


def _region_3(xy: list[Any]) -> tuple[list[Any], dict[str, list[str]]]:
    log = ConversionLog()
    metadata = {"m": {"vid": "1", "xy": xy, "av": {}}}
    entries = project_entries(_project_3(metadata=metadata), Path("p.json"), log)
    return [r["shape_attributes"] for r in entries["1"]["regions"]], dict(log.entries)


@pytest.mark.parametrize(
    ("xy", "shape"),
    [
        ([1, 5, 6], {"name": "point", "cx": 5, "cy": 6}),
        ([3, 5, 6, 2], {"name": "circle", "cx": 5, "cy": 6, "r": 2}),
        ([4, 5, 6, 3, 2], {"name": "ellipse", "cx": 5, "cy": 6, "rx": 3, "ry": 2}),
        ([5, 1, 2, 3, 4], {"name": "line", "all_points_x": [1, 3], "all_points_y": [2, 4]}),
        ([6, 1, 2, 3, 4], {"name": "polyline", "all_points_x": [1, 3], "all_points_y": [2, 4]}),
        # Topmost, leftmost, lowest and rightmost point.
        ([8, 4, 1, 2, 3, 5, 8, 7, 6], {"name": "rect", "x": 2, "y": 1, "width": 5, "height": 7}),
        # Around (4, 5) with radius 5.
        ([9, 9, 5, 7, 9, 4, 0], {"name": "circle", "cx": 4.0, "cy": 5.0, "r": 5.0}),
    ],
)
def test_coordinates_of_version_3_by_shape(xy: list[Any], shape: dict[str, Any]) -> None:
    assert _region_3(xy) == ([shape], {})


@pytest.mark.parametrize(
    ("xy", "reason"),
    [
        ([9, 0, 0, 1, 1, 2, 2], "on a line"),
        ([10, 0, 0], "no shape 10"),
        ([2, 0, 0], "argument"),
        ([8], "empty"),
        ([9, 0, 0, 1, 1], "expected 3"),
    ],
)
def test_coordinates_that_make_no_shape_are_named(xy: list[Any], reason: str) -> None:
    regions, notes = _region_3(xy)
    assert not regions
    assert reason in notes["unusable shape"][0]


def test_lines_and_points_have_no_area(folder: Path) -> None:
    metadata = {i: {"vid": "1", "xy": xy, "av": {"1": "1"}} for i, xy in enumerate([[1, 5, 6]])}
    _write(folder / "p.json", json.dumps(_project_3(metadata=metadata)))
    images, notes = _read(folder)
    assert images[0].objects == []
    assert "the shape 'point' has no area" in notes["unusable shape"][0]


@pytest.mark.parametrize(
    ("values", "attribute", "label"),
    [
        ({"1": "1"}, "class", "dog"),
        ({"2": "0,2"}, "marks", "torn+old"),
        ({"3": "0"}, "remark", "0"),
        ({"object": "cat"}, "object", "cat"),
    ],
)
def test_class_is_called_as_its_option(
    folder: Path, values: dict[str, str], attribute: str, label: str
) -> None:
    metadata = {"m": {"vid": "1", "xy": [3, 5, 5, 2], "av": values}}
    _write(folder / "p.json", json.dumps(_project_3(metadata=metadata)))
    images, _ = _read(folder, class_attribute=attribute)
    assert [item.label for item in images[0].objects] == [label]


@pytest.mark.parametrize(("kind", "what"), [(4, "a video"), (8, "an audio file")])
def test_video_and_audio_are_named(folder: Path, kind: int, what: str) -> None:
    project = _project_3()
    project["file"]["2"] |= {"fname": "scene", "type": kind}
    _write(folder / "p.json", json.dumps(project))
    images, notes = _read(folder)
    assert len(images) == 1
    assert notes == {
        "video or audio": [f"scene is {what}: annotate its frames as images; left out"]
    }


def test_video_of_a_csv_is_known_by_its_times(folder: Path) -> None:
    file = _csv_3(folder)
    row = _csv([["2_b", ["b.png"], 0, [1.5], [2, 1, 1, 2, 2], {}]])
    row += _csv([["3_a", ["c.mp3"], 0, [], [], {}]])
    file.write_text(file.read_text().replace("2_a", "2_c") + row)
    _, notes = _read(folder)
    assert [text.split(":")[0] for text in notes["video or audio"]] == ["c.mp3 is an audio file"]


def test_videos_alone_are_one_message(
    folder: Path, convert: Convert, capsys: pytest.CaptureFixture[str]
) -> None:
    project = _project_3()
    for file in project["file"].values():
        file["type"] = 4
    convert("via", _write(folder / "p.json", json.dumps(project)), "--things", "*", status=2)
    assert "annotate its frames as images" in capsys.readouterr().err


def test_a_pair_of_images_is_named(folder: Path) -> None:
    project = _project_3(view={"1": {"fid_list": ["1", "2"]}})
    _write(folder / "p.json", json.dumps(project))
    images, notes = _read(folder)
    assert not images
    assert notes["view of several files"] == ["a.png, b.png: which one is meant is unknown"]


def test_path_and_embedded_image_of_version_3(folder: Path) -> None:
    data = base64.b64encode((folder / "a.png").read_bytes()).decode()
    save_image(folder / "sub" / "c.png", 12, 10)
    project = _project_3()
    project["file"]["1"] |= {"fname": "z.png", "loc": 4, "src": f"data:image/png;base64,{data}"}
    project["file"]["2"] |= {"fname": "c.png", "loc": 3, "src": "sub/c.png"}
    _write(folder / "p.json", json.dumps(project))
    images, notes = _read(folder)
    assert not notes
    assert [image.file_name for image in images] == ["z.png", "sub/c.png"]
    assert images[0].source == (folder / "a.png").read_bytes()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a.png,9,{},1,0,{", "6 cells instead of 7"),
        ("a.png,9,{},1,0,{,{}", "row 1: Expecting"),
        ('a.png,9,{},1,0,"{""name"": 1}"', "6 cells"),
    ],
)
def test_broken_row_is_named_and_left_out(folder: Path, row: str, reason: str) -> None:
    _write(folder / "via.csv", f"{HEADER}\n{row}\n\n" + _csv(_rows_2()))
    images, notes = _read(folder)
    assert sum(len(image.objects) for image in images) == 2
    assert reason in notes["unreadable annotation"][0]


def test_polygon_may_be_longer_than_a_cell_of_python(folder: Path) -> None:
    shape = {
        "name": "polygon",
        "all_points_x": [1] * 30_000 + [6] * 60_000,
        "all_points_y": [1] * 60_000 + [6] * 30_000,
    }
    row = ["a.png", 9, {}, 1, 0, shape, {"class": "cat"}]
    before = csv.field_size_limit()
    _write(folder / "via.csv", f"{HEADER}\n" + _csv([row]))
    images, _ = _read(folder)
    assert images[0].objects[0].mask.area == 21
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "its first line lacks filename"),
        ("a,b\n1,2", "its first line lacks filename"),
        ("# Exported using VGG Image Annotator\n# CSV_HEADER = metadata_id,file_list", "VIA3 CSV"),
        ("\udcff", "cannot be read as UTF-8"),
    ],
)
def test_other_csv_files_are_one_message(folder: Path, text: str, message: str) -> None:
    file = folder / "via.csv"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=message):
        _read(file)


def test_attributes_of_a_csv_that_are_no_json_are_one_message(folder: Path) -> None:
    file = _csv_3(folder)
    file.write_text(file.read_text().replace("# ATTRIBUTE = {", "# ATTRIBUTE = "))
    with pytest.raises(UserError, match=r"ATTRIBUTE.*is no JSON"):
        _read(file)


def test_json_stands_before_a_csv_of_the_same_folder(folder: Path) -> None:
    _json_2(folder)
    _csv_2(folder)
    assert len(_read(folder)[0]) == 2
    (folder / "via.json").rename(folder / "other.csv")
    with pytest.raises(UserError, match="holds 2 JSON or CSV files; name the one of VIA"):
        _read(folder)
