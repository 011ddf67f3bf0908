"""Data sets known by name: their catalogs, and their publishers' layouts on generated files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from converted_sets import save_image
from PIL import Image
from pycocotools import mask as coco_mask

from detectron2.data import DatasetCatalog, MetadataCatalog
from seg_projects.data import register_builtin
from seg_projects.data.conversion.coco_panoptic import write_png
from seg_projects.data.datasets.coco_stuff import CLASSES, STUFF_NAMES
from seg_projects.data.label_maps import read_label_map
from seg_projects.data.panoptic_ids import read_panoptic_ids, rgb_from_ids
from seg_projects.errors import UserError
from seg_projects.evaluation.ground_truth import PanopticGroundTruth
from seg_projects.evaluation.panoptic_quality import panoptic_counts, panoptic_quality

Prepare = Callable[..., int]


def _labels(name: str) -> list[list[int]]:
    """The first label map of a data set, as the mapper reads it."""
    record = DatasetCatalog.get(name)[0]
    table = MetadataCatalog.get(name).label_table
    return read_label_map(record["sem_seg_file_name"], table).tolist()


@pytest.mark.parametrize(
    ("name", "kind", "classes"),
    [
        ("cityscapes_sem_seg_train", "label_maps", 19),
        ("cityscapes_panoptic_val", "panoptic", 12),
        ("voc_2012_sem_seg_trainval", "label_maps", 21),
        ("coco_2017_val_stuff", "label_maps", 171),
        ("oxford_pets_train", "label_maps", 3),
        ("camvid_test", "label_maps", 11),
        ("ade20k_150_val", "label_maps", 150),
    ],
)
def test_importing_the_package_registers(name: str, kind: str, classes: int) -> None:
    metadata = MetadataCatalog.get(name)
    assert metadata.evaluator_type == kind
    # Of a panoptic set: 11 kinds of stuff and one label for all things.
    assert len(metadata.stuff_classes) == len(metadata.stuff_colors) == classes


def test_registering_again_changes_nothing(tmp_path: Path) -> None:
    names = DatasetCatalog.list()
    before = MetadataCatalog.get("cityscapes_panoptic_val").panoptic_json
    register_builtin(tmp_path)
    assert DatasetCatalog.list() == names
    assert MetadataCatalog.get("cityscapes_panoptic_val").panoptic_json == before


def test_names_of_detectron2_stay_untouched() -> None:
    for name in ("cityscapes_fine_panoptic_val", "cityscapes_fine_sem_seg_val"):
        assert MetadataCatalog.get(name).evaluator_type.startswith("cityscapes_")
    assert MetadataCatalog.get("voc_2012_val").evaluator_type == "pascal_voc"


@pytest.mark.parametrize(
    "name",
    [
        *("cityscapes_sem_seg_val", "cityscapes_panoptic_val", "cityscapes_instance_seg_val"),
        *("voc_2012_sem_seg_val", "voc_2012_instance_seg_val", "coco_2017_val_stuff"),
        *("oxford_pets_val", "camvid_val", "ade20k_150_val"),
    ],
)
def test_absent_files_are_named_with_the_remedy(builtin_sets: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"does not exist: .*DETECTRON2_DATASETS"):
        DatasetCatalog.get(name)


def test_cityscapes_label_ids_become_train_ids(cityscapes: Path) -> None:
    # 7 road, 23 sky, 26 car, 24 person; 4 static and 0 unlabelled do not count.
    assert _labels("cityscapes_sem_seg_train") == [
        [0, 0, 0, 0, 10, 10],
        [13, 13, 13, 0, 13, 13],
        [13, 13, 13, 11, 255, 255],
    ]


def test_cityscapes_things_are_instances_and_groups_crowds(
    cityscapes: Path, run_preparation: Prepare
) -> None:
    assert run_preparation("cityscapes", cityscapes) == 0
    record = DatasetCatalog.get("cityscapes_panoptic_train")[0]
    assert Path(record["file_name"]).is_file()
    segments = {
        s["id"]: (s["category_id"], s["area"], s["iscrowd"]) for s in record["segments_info"]
    }
    assert segments == {
        7: (7, 5, 0),
        23: (23, 2, 0),
        26: (26, 2, 1),
        24000: (24, 1, 0),
        26000: (26, 2, 0),
        26001: (26, 4, 0),
    }
    ids = read_panoptic_ids(record["pan_seg_file_name"])
    assert ids[2].tolist() == [26001, 26001, 26000, 24000, 0, 0]


def test_cityscapes_instances_are_coco_annotations(
    cityscapes: Path, run_preparation: Prepare
) -> None:
    run_preparation("cityscapes", cityscapes)
    record = DatasetCatalog.get("cityscapes_instance_seg_val")[0]
    assert Path(record["file_name"]).is_file()
    boxes = {(a["category_id"], a["iscrowd"]): a["bbox"] for a in record["annotations"]}
    # Contiguous ids: person is 0, car 2. The group of cars is a crowd.
    assert boxes[0, 0] == [3, 2, 1, 1]
    assert boxes[2, 1] == [4, 1, 2, 1]
    assert len(record["annotations"]) == 4


def test_cityscapes_perfect_prediction_scores_100(
    cityscapes: Path, run_preparation: Prepare
) -> None:
    run_preparation("cityscapes", cityscapes)
    truth = PanopticGroundTruth("cityscapes_panoptic_val")
    ids, segments, *_ = truth.annotation("munster_000000_000019")
    counts = panoptic_counts(ids, segments, ids, segments, truth.column)
    pq = panoptic_quality(counts).pq
    assert pq[[truth.column[c] for c in (7, 23, 24, 26)]].tolist() == [100] * 4


def test_cityscapes_serves_the_names_of_detectron2(
    cityscapes: Path, run_preparation: Prepare
) -> None:
    from detectron2.data.datasets.cityscapes_panoptic import load_cityscapes_panoptic

    run_preparation("cityscapes", cityscapes)
    metadata = MetadataCatalog.get("cityscapes_fine_panoptic_train")
    root = cityscapes / "gtFine" / "cityscapes_panoptic_train"
    ids = {
        "thing_dataset_id_to_contiguous_id": metadata.thing_dataset_id_to_contiguous_id,
        "stuff_dataset_id_to_contiguous_id": metadata.stuff_dataset_id_to_contiguous_id,
    }
    images = str(cityscapes / "leftImg8bit" / "train")
    (record,) = load_cityscapes_panoptic(images, str(root), f"{root}.json", ids)
    train_ids = np.asarray(Image.open(record["sem_seg_file_name"]))
    assert train_ids[1].tolist() == [13, 13, 13, 0, 13, 13]
    assert len(record["segments_info"]) == 6


def test_cityscapes_is_prepared_once(cityscapes: Path, run_preparation: Prepare) -> None:
    run_preparation("cityscapes", cityscapes)
    before = {p: p.stat().st_mtime_ns for p in (cityscapes / "gtFine").rglob("*.*")}
    run_preparation("cityscapes", cityscapes)
    assert {p: p.stat().st_mtime_ns for p in (cityscapes / "gtFine").rglob("*.*")} == before


def test_cityscapes_of_another_size_is_a_mistake(
    cityscapes: Path, run_preparation: Prepare, capsys: pytest.CaptureFixture[str]
) -> None:
    path = next((cityscapes / "gtFine" / "train").rglob("*_instanceIds.png"))
    write_png(path, np.zeros((2, 2), np.uint16))
    assert run_preparation("cityscapes", cityscapes) == 2
    assert "instanceIds.png has the shape (2, 2), the image (3, 6)" in capsys.readouterr().err


def test_voc_palette_indices_are_classes(voc: Path) -> None:
    assert _labels("voc_2012_sem_seg_train") == [[0, 255, 15, 15], [1, 1, 255, 15]]
    assert [len(DatasetCatalog.get(f"voc_2012_sem_seg_{s}")) for s in ("val", "trainval")] == [1, 2]


def test_voc_objects_are_coco_annotations(voc: Path, run_preparation: Prepare) -> None:
    assert run_preparation("voc", voc) == 0
    (record,) = DatasetCatalog.get("voc_2012_instance_seg_val")
    found = [(a["category_id"], a["bbox"]) for a in record["annotations"]]
    # Contiguous: aeroplane is 0, person 14.
    assert found == [(14, [2, 0, 2, 1]), (14, [3, 1, 1, 1]), (0, [0, 1, 2, 1])]
    runs = record["annotations"][2]["segmentation"]
    assert coco_mask.decode(runs).tolist() == [[0, 0, 0, 0], [1, 1, 0, 0]]


def test_coco_stuff_values_lose_their_gaps(builtin_sets: Path) -> None:
    save_image(builtin_sets / "coco" / "val2017" / "1.jpg", 4, 1)
    labels = builtin_sets / "coco" / "stuffthingmaps" / "val2017"
    # 0 person, 12 stop sign (11, street sign, does not exist), 91 banner, 255 unlabelled.
    write_png(labels / "1.png", np.array([[0, 12, 91, 255]], np.uint8))
    assert _labels("coco_2017_val_stuff") == [[0, 11, 80, 255]]
    assert (len(STUFF_NAMES), CLASSES[11], CLASSES[-1]) == (91, "stop sign", "wood")


def test_coco_stuff_names_are_those_of_the_panoptic_categories() -> None:
    from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES

    unmerged = {c["id"]: c["name"] for c in COCO_CATEGORIES if 92 <= c["id"] <= 182}
    assert len(unmerged) > 30
    for category_id, name in unmerged.items():
        assert STUFF_NAMES[category_id - 92] == name


def test_stuff_of_coco_panoptic_files(builtin_sets: Path, run_preparation: Prepare) -> None:
    root = builtin_sets / "coco"
    ids = np.array([[1, 2, 3, 0]])
    write_png(root / "panoptic_val2017" / "1.png", rgb_from_ids(ids))
    segments = [{"id": i, "category_id": c} for i, c in ((1, 1), (2, 92), (3, 93))]
    names = {1: "person", 92: "banner", 93: "blanket"}
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "height": 1, "width": 4}],
        "annotations": [{"image_id": 1, "file_name": "1.png", "segments_info": segments}],
        "categories": [{"id": i, "name": n, "isthing": int(i == 1)} for i, n in names.items()],
    }
    (root / "annotations").mkdir()
    (root / "annotations" / "panoptic_val2017.json").write_text(json.dumps(content))
    assert run_preparation("coco_panoptic_separated", root) == 0
    labels = np.asarray(Image.open(root / "panoptic_stuff_val2017" / "1.png"))
    assert labels.tolist() == [[0, 1, 2, 255]]


@pytest.mark.parametrize("name", ["cityscapes", "voc", "coco_panoptic_separated"])
def test_preparation_of_nothing_is_one_line(
    tmp_path: Path, run_preparation: Prepare, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert run_preparation(name, tmp_path) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_prepared_sets_are_found(builtin_sets: Path) -> None:
    save_image(builtin_sets / "prepared_camvid" / "images" / "val" / "a.png", 2, 1)
    labels = builtin_sets / "prepared_camvid" / "labels" / "val"
    write_png(labels / "a.png", np.array([[10, 255]], np.uint8))
    assert _labels("camvid_val") == [[10, 255]]
