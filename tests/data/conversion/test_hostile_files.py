"""Hostile annotation files: one message or a note, no stack trace, bounded time and memory."""

from __future__ import annotations

import base64
import gzip
import json
import os
import random
import shutil
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from converted_sets import save_image
from PIL import Image
from tiny_runs import tool_main
from tool_exports import EXPORTS, name_of

from seg_projects.data.conversion import READERS, ConversionLog, ReaderOptions
from seg_projects.data.conversion.nifti import read_nifti_volume
from seg_projects.data.panoptic_ids import read_panoptic_ids
from seg_projects.errors import UserError

resource = pytest.importorskip("resource", reason="memory is measured by a POSIX module")


@pytest.fixture(autouse=True)
def _little_memory() -> Any:
    """At most a gigabyte on top of what is taken: a hostile file may ask for a thousand."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + (1 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def _read(tool: str, root: Path, source: str | None = None) -> ConversionLog:
    """Reads an export below ``root``; gives what was left out."""
    log = ConversionLog()
    options = ReaderOptions(
        images=root / "photos" if tool in ("labelbox", "coco-instances", "label-maps") else None,
        names=root / "names.txt" if tool == "label-maps" else None,
        default_label="disc",
    )
    for image in READERS[tool](root / (source or EXPORTS[tool][1]), options, log):
        assert all(item.mask.pixels.shape <= image.size for item in image.objects)
    return log


def _export(tool: str, root: Path, count: int = 2) -> Path:
    return EXPORTS[tool][0](root / EXPORTS[tool][1], count)


def _annotation_file(tool: str, source: Path) -> Path:
    """The file that holds the shapes of the first picture."""
    name = {
        "labelme": "photo_0.json",
        "via": "via_project.json",
        "cvat": "annotations.xml",
        "yolo": "labels/photo_0.txt",
        "supervisely": f"ds/ann/{name_of(0)}.json",
        "mask-folders": "photo_0/masks/0.png",
        "label-maps": name_of(0),
    }.get(tool)
    return source / name if name else source


def _image_file(tool: str, root: Path) -> Path:
    return next(p for p in sorted(root.rglob(name_of(0))) if p.parent.name not in ("masks", tool))


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "cut": lambda data, rng: data[: rng.randrange(len(data))],
    "flipped": lambda data, rng: _flipped(data, rng),
    "empty": lambda data, rng: b"",
    "nested": lambda data, rng: b"[" * 100_000,
    "numbers": lambda data, rng: data.replace(b"4", b"99999999999"),
    "not a number": lambda data, rng: data.replace(b"4", b"NaN"),
    "negative": lambda data, rng: data.replace(b"4", b"-4"),
    "zero bytes": lambda data, rng: data.replace(b"p", b"\0"),
}


def _flipped(data: bytes, rng: random.Random) -> bytes:
    flipped = bytearray(data)
    for _ in range(20):
        flipped[rng.randrange(len(flipped))] = rng.randrange(256)
    return bytes(flipped)


@pytest.mark.parametrize("tool", EXPORTS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_bytes_are_a_note_or_one_message(tmp_path: Path, tool: str, damage: str) -> None:
    source = _export(tool, tmp_path / "sound")
    rng = random.Random(0)
    for number, kind in enumerate((_annotation_file(tool, source), _image_file(tool, tmp_path))):
        for attempt in range(3):
            root = tmp_path / f"{number}_{attempt}"
            shutil.copytree(tmp_path / "sound", root)
            file = root / kind.relative_to(tmp_path / "sound")
            file.write_bytes(DAMAGES[damage](file.read_bytes(), rng))
            try:
                log = _read(tool, root)
                said = [text for texts in log.entries.values() for text in texts]
            except UserError as error:
                said = [str(error)]
            assert all("\n" not in text for text in said)
            assert all(len(text) < 1000 for text in said)


FOREIGN = ("../../../secret.png", "/etc/hostname", "\0", "x" * 5000, "", "..", "C:\\secret.png")


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("tool", ["via", "cvat", "labelbox", "coco-instances"])
def test_names_never_lead_out_of_the_folder(tmp_path: Path, tool: str, name: str) -> None:
    save_image(tmp_path / "secret.png", 48, 40)
    root = tmp_path / "a" / "b" / "c"
    source = _export(tool, root)
    file = _annotation_file(tool, source)
    escaped = json.dumps(name)[1:-1] if tool != "cvat" else name.replace("\0", "")
    file.write_text(file.read_text().replace(name_of(0), escaped))
    log = _read(tool, root)
    noted = [text for texts in log.entries.values() for text in texts]
    assert len(noted) == 1
    assert "left out" in noted[0]


def test_labelme_images_elsewhere_keep_their_last_name_alone(tmp_path: Path) -> None:
    source = _export("labelme", tmp_path)
    save_image(tmp_path / "elsewhere" / "x.png", 48, 40)
    content = json.loads((source / "photo_0.json").read_text())
    content["imagePath"] = "../elsewhere/x.png"
    (source / "photo_0.json").write_text(json.dumps(content))
    arguments = ["labelme", str(source), "--to", "instances", "--output", str(tmp_path / "out")]
    assert tool_main("convert")(arguments) == 0
    assert (tmp_path / "out" / "train" / "x.png").is_file()


@pytest.mark.parametrize("name", ["../up", "a/b", "/tmp/x"])
def test_name_of_a_part_is_one_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    source = _export("labelme", tmp_path)
    arguments = ["labelme", str(source), "--to", "instances", "--output", str(tmp_path / "out")]
    assert tool_main("convert")([*arguments, "--name", name]) == 2
    assert "is no name of a folder" in capsys.readouterr().err


def test_panoptic_png_files_are_those_of_their_folder(tmp_path: Path) -> None:
    save_image(tmp_path / "secret.png", 4, 4)
    save_image(tmp_path / "set" / "a.png", 4, 4)
    (tmp_path / "set" / "set_masks").mkdir()
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 4, "width": 4}],
        "annotations": [{"image_id": 1, "file_name": "../../secret.png", "segments_info": []}],
        "categories": [{"id": 1, "name": "cat", "isthing": 1}],
    }
    (tmp_path / "set" / "set.json").write_text(json.dumps(content))
    log = _read("coco-panoptic", tmp_path / "set", "set.json")
    assert "unusable annotation" in log.entries


def test_entities_of_xml_do_not_explode(tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    text = f'<!DOCTYPE x [<!ENTITY e0 "lol">{entities}]><annotations>&e11;</annotations>'
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(UserError, match="is not XML"):
        _read("cvat", tmp_path, "annotations.xml")


def test_entities_of_xml_read_no_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    text = (
        f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{tmp_path}/secret">]>'
        "<annotations><image name='&e;'/></annotations>"
    )
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(UserError, match="is not XML"):
        _read("cvat", tmp_path, "annotations.xml")


@pytest.mark.parametrize("rle", ["9" * 30, "-1,1921", "1000000000000", "1,2,x", ""])
def test_run_lengths_of_cvat_are_bounded(tmp_path: Path, rle: str) -> None:
    source = _export("cvat", tmp_path, 1)
    for width, height in ((48, 40), (10**9, 10**3)):
        mask = f'<mask label="a" rle="{rle}" left="0" top="0" width="{width}" height="{height}"/>'
        head = f'<annotations><image name="{name_of(0)}" width="48" height="40">'
        (source / "annotations.xml").write_text(f"{head}{mask}</image></annotations>")
        assert list(_read("cvat", tmp_path).entries) == ["unusable shape"]


def _bomb(side: int) -> bytes:
    """A PNG of ``side`` x ``side`` pixels by its header, with hardly any data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * 10_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data)


def test_enormous_images_are_named(tmp_path: Path) -> None:
    source = _export("labelme", tmp_path)
    (source / name_of(0)).write_bytes(_bomb(100_000))
    log = _read("labelme", tmp_path)
    assert "decompression bomb" in log.entries["unreadable image"][0]


def test_enormous_masks_are_named(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(_bomb(100_000))
    with pytest.raises(UserError, match="cannot be read"):
        read_panoptic_ids(tmp_path / "bomb.png")
    source = _export("labelme", tmp_path, 1)
    entry = {"label": "a", "shape_type": "mask", "points": [[0, 0], [9, 9]]}
    entry["mask"] = base64.b64encode(_bomb(100_000)).decode()
    content = json.loads((source / "photo_0.json").read_text()) | {"shapes": [entry]}
    (source / "photo_0.json").write_text(json.dumps(content))
    assert "decompression bomb" in _read("labelme", tmp_path).entries["unusable shape"][0]


def test_bitmap_of_supervisely_that_grows_beyond_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seg_projects.data.conversion.supervisely._LARGEST_BITMAP", 1 << 16)
    source = _export("supervisely", tmp_path, 1)
    file = _annotation_file("supervisely", source)
    content = json.loads(file.read_text())
    packed = zlib.compress(bytes(1 << 20))
    content["objects"][0]["bitmap"]["data"] = base64.b64encode(packed).decode()
    file.write_text(json.dumps(content))
    assert "its bitmap has more than" in _read("supervisely", tmp_path).entries["unusable shape"][0]


def test_volume_is_read_no_further_than_its_header_says(tmp_path: Path) -> None:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 2, 2, 2, 1, 1, 1, 1)
    struct.pack_into("<h", header, 70, 2)
    struct.pack_into("<f", header, 108, 352)
    header[344:348] = b"n+1\0"
    with gzip.open(tmp_path / "a.nii.gz", "wb", compresslevel=1) as file:
        file.write(header + bytes(1 << 26))
    tracemalloc.start()
    assert read_nifti_volume(tmp_path / "a.nii.gz").tolist() == np.zeros((2, 2, 2)).tolist()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 22
    for offset in (float("nan"), float("inf"), -5.0, 1e30):
        struct.pack_into("<f", header, 108, offset)
        (tmp_path / "a.nii").write_bytes(bytes(header) + bytes(8))
        with pytest.raises(ValueError, match="its values begin at"):
            read_nifti_volume(tmp_path / "a.nii")
    struct.pack_into("<f", header, 108, 352)
    struct.pack_into("<3h", header, 42, 32767, 32767, 32767)
    (tmp_path / "a.nii").write_bytes(bytes(header) + bytes(8))
    with pytest.raises(ValueError, match="more than"):
        read_nifti_volume(tmp_path / "a.nii")


def test_endless_outlines_of_coco_are_refused(tmp_path: Path) -> None:
    file = _export("coco-instances", tmp_path, 1)
    content = json.loads(file.read_text())
    corners = [0, 0, 900_000, 900_000]
    content["annotations"][0]["segmentation"] = [corners * 5000]
    content["annotations"][1]["segmentation"] = {"size": [40, 48], "counts": [10**15]}
    file.write_text(json.dumps(content))
    notes = _read("coco-instances", tmp_path).entries["unusable annotation"]
    assert any("are longer than" in note for note in notes)
    assert len(notes) == 2


@pytest.mark.parametrize("tool", ["labelme", "via", "yolo", "supervisely"])
def test_endless_coordinates_take_no_time(tmp_path: Path, tool: str) -> None:
    source = _export(tool, tmp_path, 1)
    file = _annotation_file(tool, source)
    text = file.read_text()
    far = "1e300" if tool != "yolo" else "9" * 300
    file.write_text(
        text.replace("16.0", far)
        .replace("[[24,", f"[[{far},")
        .replace("16,", f"{far},")
        .replace(" 0.4 ", f" {far} ")
    )
    assert file.read_text() != text
    _read(tool, tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
@pytest.mark.parametrize("tool", ["mask-folders", "label-maps", "yolo"])
def test_pipes_and_loops_of_links_are_no_images(tmp_path: Path, tool: str) -> None:
    source = _export(tool, tmp_path)
    sound = _read(tool, tmp_path)
    folder = _annotation_file(tool, source).parent
    os.mkfifo(folder / "pipe.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "folder.png").mkdir()
    (folder / "again").symlink_to(source, target_is_directory=True)
    assert _read(tool, tmp_path).entries == sound.entries


@pytest.mark.parametrize("tool", EXPORTS)
def test_image_of_one_pixel_or_none(tmp_path: Path, tool: str) -> None:
    _export(tool, tmp_path)
    Image.new("RGB", (1, 1)).save(_image_file(tool, tmp_path))
    log = _read(tool, tmp_path)
    # Tools that state no size draw into the pixel.
    assert set(log.entries) <= {"size mismatch"}
    _image_file(tool, tmp_path).write_bytes(b"")
    assert "unreadable image" in _read(tool, tmp_path).entries
