"""What the README of the real sample sets says of each, line by line: counts, shares, quirks.

Counts of conversions and perfect scores are in ``test_every_sample_set.py``; reports of absent
images and other attributes, the round trips and the LabelMe author's conversions in
``test_real_sets.py``; CamVid's prefix and ADE20K's classes in ``test_label_map_sets.py``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from converted_sets import Convert
from PIL import Image
from tiny_runs import REPOSITORY

from detectron2.data import DatasetCatalog
from seg_projects.data import declare_all
from seg_projects.data.datasets.coco_stuff import prepare_pairs
from seg_projects.data.images import read_image
from seg_projects.engine import load_config

DECLARED: dict[str, tuple[str, dict[str, Any], int, int | None]] = {
    # Kind, entry, images, objects.
    "coco_panoptic": (
        "PANOPTIC",
        {
            "IMAGES": "coco_panoptic/val2017",
            "PANOPTIC_JSON": "coco_panoptic/annotations/panoptic_val2017.json",
            "PANOPTIC_MASKS": "coco_panoptic/annotations/panoptic_val2017",
            "INSTANCES_JSON": "coco_panoptic/annotations/instances_val2017.json",
        },
        *(12, 221),
    ),
    "panopticapi_sample": (
        "PANOPTIC",
        {
            "IMAGES": "panopticapi_sample/sample_data/input_images",
            "PANOPTIC_JSON": "panopticapi_sample/sample_data/panoptic_examples.json",
            "PANOPTIC_MASKS": "panopticapi_sample/sample_data/panoptic_examples",
        },
        *(2, 50),
    ),
    "coco_instances_train": (
        "INSTANCES",
        {
            "IMAGES": "coco_instances/train2017",
            "INSTANCES_JSON": "coco_instances/annotations/instances_train2017.json",
        },
        *(48, 370),
    ),
    "coco_instances_val": (
        "INSTANCES",
        {
            "IMAGES": "coco_instances/val2017",
            "INSTANCES_JSON": "coco_instances/annotations/instances_val2017.json",
        },
        *(26, 219),
    ),
    "fruits_nuts": (
        "INSTANCES",
        {
            "IMAGES": "fruits_nuts/data/images",
            "INSTANCES_JSON": "fruits_nuts/data/trainval.json",
        },
        *(12, 113),
    ),
    "nuclei": (
        "INSTANCE_MASKS",
        {"MASKS": "dsb2018_nuclei/stage1_train", "CLASS": "nucleus"},
        *(31, 2173),
    ),
    "camvid": (
        "SEMANTIC",
        {
            "IMAGES": "camvid/CamVid/train",
            "LABELS": "camvid/CamVid/trainannot",
            "CLASSES": [f"class {n}" for n in range(11)],
            "IGNORE_LABEL": 11,
        },
        *(36, None),
    ),
    "membrane": (
        "SEMANTIC",
        {
            "IMAGES": "membrane/train/image",
            "LABELS": "membrane/train/label",
            "CLASSES": ["cell", "membrane"],
            "VALUE_MAP": {255: 0, 0: 1},
        },
        *(20, None),
    ),
    "pets": (
        "SEMANTIC",
        {"IMAGES": "pets", "LABELS": "pets/label", "CLASSES": ["background", "cat", "dog"]},
        *(18, None),
    ),
}


@pytest.mark.parametrize("name", DECLARED)
def test_declared_set_has_the_counts_of_its_readme(shared_data: Path, name: str) -> None:
    kind, entry, images, objects = DECLARED[name]
    config = REPOSITORY / "configs" / "base_mask_rcnn.yaml"
    cfg = load_config(config, ["MODEL.DEVICE", "cpu", "DATASETS.ROOT", str(shared_data)])
    cfg.DATASETS[kind] = [{"NAME": f"sample_{name}", **entry}]
    declare_all(cfg)
    records = DatasetCatalog.get(f"sample_{name}")
    assert len(records) == images
    key = "segments_info" if kind == "PANOPTIC" else "annotations"
    if objects is not None:
        assert sum(len(record[key]) for record in records) == objects


@pytest.mark.parametrize(
    ("source", "images", "objects", "crowds", "polygons"),
    [
        ("coco_panoptic/annotations/instances_val2017.json", 12, 183, 6, 14),
        ("coco_instances/annotations/instances_train2017.json", 48, 370, 2, None),
    ],
)
def test_crowds_and_objects_of_several_polygons_are_kept(
    shared_data: Path,
    convert: Convert,
    source: str,
    images: int,
    objects: int,
    crowds: int,
    polygons: int | None,
) -> None:
    file = shared_data / source
    folder = file.parents[1] / file.stem.removeprefix("instances_")
    content = convert("coco-instances", file, "--images", folder, "--to", "instances")
    found = content["annotations"]
    assert (len(content["images"]), len(found)) == (images, objects)
    # Run lengths that are no crowds would stay what they are, too.
    assert sum(a["iscrowd"] for a in found) == crowds
    before = json.loads(file.read_text())
    assert "info" not in before or polygons is not None
    several = [
        a for a in found if isinstance(a["segmentation"], list) and len(a["segmentation"]) > 1
    ]
    assert polygons is None or len(several) == polygons
    assert {c["id"] for c in content["categories"]} == {c["id"] for c in before["categories"]}


def test_image_id_0_stays(shared_data: Path, convert: Convert) -> None:
    file = shared_data / "fruits_nuts" / "data" / "trainval.json"
    content = convert(
        "coco-instances", file, "--images", file.parent / "images", "--to", "instances"
    )
    assert 0 in {image["id"] for image in content["images"]}
    assert any(a["image_id"] == 0 for a in content["annotations"])


def test_category_id_0_and_folders_in_file_names(shared_data: Path, convert: Convert) -> None:
    folder = shared_data / "labelme_examples" / "instance_segmentation" / "data_dataset_coco"
    content = convert("coco-instances", folder / "annotations.json", "--to", "instances")
    assert content["categories"][0] == {"id": 0, "name": "_background_", "supercategory": None}
    assert {Path(image["file_name"]).parent.name for image in content["images"]} == {"JPEGImages"}


def test_detections_get_their_kinds_from_a_file_of_categories(
    shared_data: Path, convert: Convert
) -> None:
    folder = shared_data / "panopticapi_sample"
    content = convert(
        "coco-instances",
        folder / "sample_data" / "panoptic_coco_detection_format.json",
        *("--images", folder / "sample_data" / "input_images"),
        *("--categories", folder / "panoptic_coco_categories.json"),
    )
    isthing = {c["id"]: c["isthing"] for c in content["categories"]}
    kinds = [isthing[s["category_id"]] for a in content["annotations"] for s in a["segments_info"]]
    assert (sum(kinds), len(kinds) - sum(kinds)) == (43, 7)


def test_polygons_that_reach_the_edge_end_at_the_last_pixel(
    shared_data: Path, convert: Convert
) -> None:
    options = ("--default-label", "balloon", "--to", "instances")
    content = convert("via", shared_data / "balloon" / "train", *options)
    sizes = {i["id"]: (i["width"], i["height"]) for i in content["images"]}
    outside = 0
    for annotation in content["annotations"]:
        width, height = sizes[annotation["image_id"]]
        (points,) = annotation["segmentation"]
        outside += max(points[::2]) >= width or max(points[1::2]) >= height
        x, y, w, h = annotation["bbox"]
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
        # VIA repeats the first point.
        assert points[:2] != points[-2:]
    assert outside == 10


SHARES: dict[str, tuple[str, str, dict[int, str], dict[str, float]]] = {
    # Folder of the maps and of the images, names, shares of the pixels.
    "membrane": (
        *("membrane/train/label", "membrane/train/image"),
        *({0: "membrane", 255: "inside"}, {"membrane": 0.23}),
    ),
    "camvid": (
        *("camvid/CamVid/trainannot", "camvid/CamVid/train"),
        {0: "sky", 1: "building", 2: "pole", 3: "road", 10: "bicyclist"},
        {"road": 0.32, "bicyclist": 0.001},
    ),
    "pets": ("pets/label", "pets", {0: "background", 1: "cat", 2: "dog"}, {}),
}


@pytest.mark.parametrize("name", SHARES)
def test_label_maps_keep_every_pixel(
    shared_data: Path, output: Path, tmp_path: Path, convert: Convert, name: str
) -> None:
    labels, images, names, shares = SHARES[name]
    (tmp_path / "names.json").write_text(json.dumps(names))
    options = ("--images", shared_data / images, "--names", tmp_path / "names.json")
    convert("label-maps", shared_data / labels, *options, "--to", "label-maps")
    classes = (output / "train_classes.txt").read_text().splitlines()
    assert classes == list(names.values())
    table = np.full(256, 255)
    table[list(names)] = range(len(names))
    total = np.zeros(256)
    for file in sorted((output / "train_masks").iterdir()):
        with Image.open(shared_data / labels / file.name) as image:
            before = np.asarray(image)  # palette indices, not colours
        after = np.asarray(Image.open(file))
        assert (after == table[before]).all()
        total += np.bincount(after.ravel(), minlength=256)
    for label, share in shares.items():
        found = total[classes.index(label)] / total.sum()
        assert found == pytest.approx(share, abs=0.5 * 10 ** -len(str(share).split(".")[1]))
    if name == "pets":
        assert total[255] / total.sum() == pytest.approx(0.12, abs=0.005)


def test_transparent_nuclei_become_rgb(shared_data: Path) -> None:
    file = next((shared_data / "dsb2018_nuclei" / "stage1_train").glob("*/images/*.png"))
    with Image.open(file) as image:
        assert image.mode == "RGBA"
    assert read_image(str(file), "RGB").shape[2] == 3


def test_classes_of_supervisely_are_joined_by_title(shared_data: Path, convert: Convert) -> None:
    project = shared_data / "supervisely_lemons" / "project"
    content = convert("supervisely", project, "--to", "instances")
    assert {c["name"] for c in content["categories"]} == {"kiwi", "lemon"}
    numbers = {c["id"] for c in json.loads((project / "meta.json").read_text())["classes"]}
    files = list(project.glob("*/ann/*.json"))
    used = {o["classId"] for f in files for o in json.loads(f.read_text())["objects"]}
    assert not used & numbers


def test_image_embedded_in_labelme_gets_a_name_of_its_own(
    shared_data: Path, output: Path, convert: Convert
) -> None:
    content = convert("labelme", shared_data / "labelme_examples" / "tutorial", "--to", "instances")
    (image,) = content["images"]
    assert Path(image["file_name"]).stem == "apc2016_obj3"
    with Image.open(output / "train" / image["file_name"]) as opened:
        assert opened.size == (image["width"], image["height"])


def test_all_pairs_of_coco_stuff(shared_data: Path, tmp_path: Path) -> None:
    output = prepare_pairs(shared_data / "coco_stuff", tmp_path / "out")
    for split, count in (("train", 13), ("val", 3)):
        content = json.loads((output / f"{split}.json").read_text())
        assert len(content["images"]) == len(content["annotations"]) == count


def test_slices_of_a_volume_are_trained_or_tested_with_together(
    shared_data: Path, tmp_path: Path, output: Path, convert: Convert
) -> None:
    source = shared_data / "hippocampus3d" / "TrainingSet"
    files = sorted((source / "labels").iterdir())[:4]
    for kind in ("images", "labels"):
        (tmp_path / "volumes" / kind).mkdir(parents=True)
        for file in files:
            shutil.copy(source / kind / file.name, tmp_path / "volumes" / kind)
    (tmp_path / "names.txt").write_text("background\nanterior\nposterior\n")
    options = ("--names", tmp_path / "names.txt", "--to", "label-maps", "--held-out", 0.25)
    convert("nifti", tmp_path / "volumes", *options)
    volumes = [
        {stem.rpartition("_")[0] for stem in (output / f"{part}.txt").read_text().split()}
        for part in ("train", "val")
    ]
    assert [len(names) for names in volumes] == [3, 1]
    assert not volumes[0] & volumes[1]


def test_annotations_without_images_are_one_message(
    shared_data: Path, convert: Convert, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared_data / "coco_eval_reference"
    file = next(p for p in folder.iterdir() if '"images"' in p.read_text()[: 10**7])
    convert("coco-instances", file, status=2)
    message = capsys.readouterr().err
    assert "missing image: 100" in message
    assert message.rstrip().endswith("error: No image could be converted.")
