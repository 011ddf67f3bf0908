"""Every real sample set, converted: the counts of its README, and PQ 100 for the truth itself."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from converted_sets import Convert, perfect_quality
from PIL import Image

from seg_projects.data.conversion import READERS, ConversionLog, ReaderOptions
from seg_projects.data.conversion.nifti import read_nifti_volume
from seg_projects.data.datasets.coco_stuff import prepare_pairs
from seg_projects.data.panoptic_ids import read_panoptic_ids

# Tool, source, options, images, objects; {} is the folder of the samples, NAMES a file of NAMES.
SETS: dict[str, tuple[str, str, str, int, int | None]] = {
    "coco_panoptic": (
        *("coco-panoptic", "coco_panoptic/annotations/panoptic_val2017.json"),
        *("--images {}/coco_panoptic/val2017", 12, 221),
    ),
    "panopticapi_sample": (
        *("coco-panoptic", "panopticapi_sample/sample_data/panoptic_examples.json"),
        *("--images {}/panopticapi_sample/sample_data/input_images", 2, 50),
    ),
    "coco_instances": (
        *("coco-instances", "coco_instances/annotations/instances_val2017.json"),
        *("--images {}/coco_instances/val2017", 26, 219),
    ),
    "ade_sceneparsing": (
        *("label-maps", "ade_sceneparsing/sampleData/annotations"),
        *("--images {}/ade_sceneparsing/sampleData/images --names NAMES --stuff *", 3, None),
    ),
    "camvid": (
        *("label-maps", "camvid/CamVid/valannot"),
        *("--images {}/camvid/CamVid/val --names NAMES --stuff *", 12, None),
    ),
    "membrane": (
        *("label-maps", "membrane/train/label"),
        *("--images {}/membrane/train/image --names NAMES --stuff *", 20, 40),
    ),
    "pets": ("label-maps", "pets/label", "--images {}/pets --names NAMES --stuff *", 18, None),
    "dsb2018_nuclei": (
        *("mask-folders", "dsb2018_nuclei/stage1_train"),
        *("--default-label nucleus --things *", 31, 2173),
    ),
    "balloon": ("via", "balloon/val", "--default-label balloon --things *", 5, 15),
    "car_damage_via": ("via", "car_damage_via/val", "--things *", 14, 17),
    "fruits_nuts": (
        *("coco-instances", "fruits_nuts/data/trainval.json"),
        *("--images {}/fruits_nuts/data/images", 12, 113),
    ),
    "labelme_examples": (
        *("labelme", "labelme_examples/instance_segmentation/data_annotated"),
        *("--things *", 3, 14),  # 18 polygons, some of them in groups
    ),
    "supervisely_lemons": ("supervisely", "supervisely_lemons/project", "--things *", 4, 17),
}
NAMES: dict[str, dict[int, str]] = {
    "ade_sceneparsing": {value: f"class {value}" for value in range(1, 151)},
    "camvid": {value: f"class {value}" for value in range(11)},
    "membrane": {0: "membrane", 255: "inside"},
    "pets": {0: "background", 1: "cat", 2: "dog"},
}


@pytest.mark.parametrize("name", SETS)
def test_counts_and_a_perfect_score(
    shared_data: Path,
    output: Path,
    tmp_path: Path,
    convert: Convert,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    tool, source, options, images, objects = SETS[name]
    names = tmp_path / "names.json"
    names.write_text(json.dumps(NAMES.get(name, {})))
    words = options.replace("NAMES", str(names)).format(shared_data).split()
    content = convert(tool, shared_data / source, *words)
    assert len(content["images"]) == len(list((output / "train").rglob("*.*"))) == images
    visible = sum(len(a["segments_info"]) for a in content["annotations"])
    hidden = re.search(r"hidden object: (\d+)", capsys.readouterr().out)
    if objects is not None:
        assert visible + int(hidden[1] if hidden else 0) == objects
    assert perfect_quality(output) == 100


def test_pairs_of_coco_stuff_maps(shared_data: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for kind in ("img", "label", "inst"):
        shutil.copytree(shared_data / "coco_stuff" / f"val_{kind}", source / f"val_{kind}")
        shutil.copytree(shared_data / "coco_stuff" / f"val_{kind}", source / f"train_{kind}")
    output = prepare_pairs(source, tmp_path / "converted")
    assert perfect_quality(output) == 100
    content = json.loads((output / "val.json").read_text())
    assert len(content["images"]) == 3
    for annotation in content["annotations"]:
        stem = annotation["file_name"]
        labels = np.asarray(Image.open(source / "val_label" / stem)).astype(int)
        numbers = np.asarray(Image.open(source / "val_inst" / stem)).astype(int)
        ids = read_panoptic_ids(output / "val_masks" / stem)
        assert ((ids == 0) == (labels == 255)).all()
        for segment in annotation["segments_info"]:
            mask = ids == segment["id"]
            assert set(labels[mask].tolist()) == {segment["category_id"] - 1}
            # A thing is one number, stuff whatever numbers things have left in it.
            assert segment["category_id"] > 91 or len(np.unique(numbers[mask])) == 1


@pytest.fixture
def volumes(shared_data: Path, tmp_path: Path) -> Path:
    """Two of the volumes, one without labels; names of the values."""
    source = shared_data / "hippocampus3d" / "TrainingSet"
    for kind in ("images", "labels"):
        (tmp_path / "volumes" / kind).mkdir(parents=True)
    for stem in ("007", "118"):
        for kind in ("images", "labels"):
            file = source / kind / f"hippocampus_{stem}.nii.gz"
            if file.is_file():
                shutil.copy(file, tmp_path / "volumes" / kind)
    (tmp_path / "names.txt").write_text("\nanterior\nposterior\n")
    return tmp_path / "volumes"


def test_slices_of_volumes(
    volumes: Path, output: Path, convert: Convert, capsys: pytest.CaptureFixture[str]
) -> None:
    names = volumes.parent / "names.txt"
    content = convert("nifti", volumes, "--names", names, "--stuff", "anterior", "posterior")
    assert "volume without labels: 1" in capsys.readouterr().out
    truth = read_nifti_volume(volumes / "labels" / "hippocampus_007.nii.gz")
    assert len(content["images"]) == truth.shape[2]
    areas = {1: 0, 2: 0}
    for annotation in content["annotations"]:
        for segment in annotation["segments_info"]:
            areas[segment["category_id"]] += segment["area"]
    assert areas == {value: int((truth == value).sum()) for value in (1, 2)}
    assert perfect_quality(output) == 100
    image = np.asarray(Image.open(output / "train" / "hippocampus_007_010.png"))
    assert (image.shape, image.min(), image.max()) == (truth.shape[1::-1], 0, 255)


def test_all_volumes_are_read(shared_data: Path) -> None:
    files = sorted((shared_data / "hippocampus3d" / "TrainingSet").rglob("*.nii.gz"))
    shares = [np.bincount(read_nifti_volume(f).ravel(), minlength=3) for f in files[25:]]
    assert len(files) == 49
    total = np.sum(shares, axis=0) / np.sum(shares)
    assert total[1:].round(3).tolist() == [0.028, 0.026]


def test_slice_is_a_transposed_plane(tmp_path: Path) -> None:
    volume = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    (tmp_path / "a.nii").write_bytes(nifti_bytes(volume))
    assert np.array_equal(read_nifti_volume(tmp_path / "a.nii"), volume)
    (tmp_path / "b.nii").write_bytes(nifti_bytes(volume, order=">", slope=0.5, intercept=1))
    assert np.array_equal(read_nifti_volume(tmp_path / "b.nii"), volume * 0.5 + 1)


def nifti_bytes(
    volume: np.ndarray, *, order: str = "<", slope: float = 0, intercept: float = 0, kind: int = 4
) -> bytes:
    """A NIfTI-1 file of 16-bit numbers."""
    header = np.zeros(352, np.uint8)

    def put(position: int, values: Any, dtype: str) -> None:
        raw = np.asarray(values).astype(order + dtype).tobytes()
        header[position : position + len(raw)] = np.frombuffer(raw, np.uint8)

    put(0, [348], "i4")
    put(40, [volume.ndim, *volume.shape, 1, 1, 1, 1], "i2")
    put(70, [kind, 16], "i2")
    put(108, [352, slope, intercept], "f4")
    header[344:348] = np.frombuffer(b"n+1\0", np.uint8)
    return header.tobytes() + volume.astype(order + "i2").tobytes(order="F")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no volume", "no NIfTI-1 file"),
        (nifti_bytes(np.ones((2, 2, 2)))[:-1], "ends before its 8 values"),
        (nifti_bytes(np.ones((2, 2, 2)), kind=128), "the kind 128"),
        (nifti_bytes(np.ones((2, 2))), "slices need three"),
        (b"\x1f\x8b\x08\x00 damaged", "compression is damaged"),
    ],
)
def test_damaged_volumes_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "a.nii").write_bytes(content)
    (tmp_path / "names.txt").write_text("a\n")
    log = ConversionLog()
    options = ReaderOptions(names=tmp_path / "names.txt")
    assert not list(READERS["nifti"](tmp_path, options, log))
    assert message in log.table()
