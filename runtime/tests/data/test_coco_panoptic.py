"""COCO's panoptic annotation format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from golden import Golden

from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.builtin_meta import coco_panoptic_metadata, coco_separated_metadata
from detectron2.data.datasets.coco import load_sem_seg
from detectron2.data.datasets.coco_panoptic import (
    load_coco_panoptic_json,
    merge_to_panoptic,
    register_coco_panoptic,
    register_coco_panoptic_separated,
)

NAME = "panoptic_format_test"
# The categories that the recorded case uses.
META = {
    "thing_dataset_id_to_contiguous_id": {1: 0, 3: 1},
    "stuff_dataset_id_to_contiguous_id": {184: 116},
}
DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "coco_panoptic"


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    for suffix in ("", "_separated", "_stuffonly"):
        DatasetCatalog.pop(NAME + suffix, None)
        MetadataCatalog.pop(NAME + suffix, None)


class Files:
    """The recorded case as files: images 3 and 4, panoptic maps, semantic maps, annotations."""

    def __init__(self, folder: Path, golden: Golden) -> None:
        self.folder = folder
        for name in ("im/3.jpg", "im/4.jpg", "pan/3.png", "pan/4.png", "sem/3.png", "sem/4.png"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).touch()
        self.images, self.maps, self.semantic = (str(folder / d) for d in ("im", "pan", "sem"))
        self.json = str(folder / "pan.json")
        self.instances = str(folder / "inst.json")
        ground_truth = golden.params["gt"]
        Path(self.json).write_text(json.dumps(ground_truth))
        things = {"images": ground_truth["images"], "annotations": [], "categories": []}
        Path(self.instances).write_text(json.dumps(things))

    def relative(self, value: Any) -> Any:
        return json.loads(json.dumps(value).replace(str(self.folder), "D"))


@pytest.fixture
def golden() -> Golden:
    return Golden("panoptic_dataset")


@pytest.fixture
def files(tmp_path: Path, golden: Golden) -> Files:
    return Files(tmp_path, golden)


def test_records_are_the_recorded_ones(files: Files, golden: Golden) -> None:
    records = load_coco_panoptic_json(files.json, files.images, files.maps, META)
    golden.check_json("records", files.relative(records))


def test_registration_is_the_recorded_one(files: Files, golden: Golden) -> None:
    names = ("thing", "stuff")
    metadata = {
        key: value
        for key, value in coco_panoptic_metadata().items()
        if key.startswith(names) and not key.endswith("colors")
    }
    register_coco_panoptic(
        NAME, metadata, files.images, files.maps, files.json, instances_json=files.instances
    )
    meta = MetadataCatalog.get(NAME)
    direct = load_coco_panoptic_json(files.json, files.images, files.maps, metadata)
    golden.check_json(
        "registered",
        {
            "same": DatasetCatalog.get(NAME) == direct,
            "keys": sorted(meta.as_dict()),
            "evaluator": meta.evaluator_type,
            "label_divisor": meta.label_divisor,
            "ignore_label": meta.ignore_label,
        },
    )


def test_separated_registration_is_the_recorded_one(files: Files, golden: Golden) -> None:
    metadata = {
        key: value
        for key, value in coco_separated_metadata().items()
        if not key.startswith("thing") and not key.endswith("colors")
    }
    register_coco_panoptic_separated(
        NAME,
        metadata,
        files.images,
        files.maps,
        files.json,
        files.semantic,
        files.instances,
    )
    records = DatasetCatalog.get(f"{NAME}_separated")  # This also sets the classes of things.
    meta = MetadataCatalog.get(f"{NAME}_separated")
    golden.check_json(
        "separated",
        {
            "records": files.relative(records),
            "stuffonly": files.relative(DatasetCatalog.get(f"{NAME}_stuffonly")),
            "keys": sorted(meta.as_dict()),
            "evaluator": meta.evaluator_type,
        },
    )
    assert MetadataCatalog.get(f"{NAME}_stuffonly").evaluator_type == "sem_seg"


def test_semantic_maps_of_missing_images_are_left_out(files: Files, golden: Golden) -> None:
    (files.folder / "sem" / "4.png").unlink()
    records = load_sem_seg(files.semantic, files.images)
    golden.check_json("sem", files.relative(records))


def test_missing_annotations_name_path_data_set_and_remedy(tmp_path: Path) -> None:
    register_coco_panoptic(NAME, META, "im", "pan", str(tmp_path / "no.json"))
    with pytest.raises(FileNotFoundError, match=f"no.json.*{NAME}.*DETECTRON2_DATASETS"):
        DatasetCatalog.get(NAME)


def test_missing_semantic_maps_name_folder_and_data_set(tmp_path: Path) -> None:
    register_coco_panoptic_separated(NAME, META, "im", "pan", "p.json", str(tmp_path / "s"), "i")
    with pytest.raises(FileNotFoundError, match=f"s of the data set '{NAME}_stuffonly'"):
        DatasetCatalog.get(f"{NAME}_stuffonly")


@pytest.mark.parametrize("missing", ["im/3.jpg", "pan/3.png"])
def test_missing_first_file_is_named(files: Files, missing: str) -> None:
    (files.folder / missing).unlink()
    with pytest.raises(AssertionError, match=f"{missing} does not exist"):
        load_coco_panoptic_json(files.json, files.images, files.maps, coco_panoptic_metadata())


def test_unknown_category_is_named(files: Files) -> None:
    meta = {**META, "stuff_dataset_id_to_contiguous_id": {}}
    with pytest.raises(KeyError, match="category_id=184 of segment 9"):
        load_coco_panoptic_json(files.json, files.images, files.maps, meta)


def test_no_annotations_raise(tmp_path: Path) -> None:
    (tmp_path / "e.json").write_text('{"annotations": []}')
    with pytest.raises(AssertionError, match=r"e\.json has no annotations"):
        load_coco_panoptic_json(str(tmp_path / "e.json"), "", "", META)


def test_merging_joins_by_file_name_and_leaves_its_arguments_alone() -> None:
    detection, semantic = {"file_name": "b", "x": 1}, {"file_name": "b", "y": 2}
    assert merge_to_panoptic([detection], [semantic, {"file_name": "q"}]) == [
        {"file_name": "b", "x": 1, "y": 2}
    ]
    assert detection == {"file_name": "b", "x": 1}


def test_merging_needs_a_map_for_each_image() -> None:
    with pytest.raises(KeyError, match="c has instances but no semantic map"):
        merge_to_panoptic([{"file_name": "c"}], [{"file_name": "b"}])
    with pytest.raises(AssertionError, match="no semantic records"):
        merge_to_panoptic([{"file_name": "c"}], [])


@pytest.mark.skipif(not DATA.is_dir(), reason="sample data are absent (../shared/data)")
def test_a_real_file_is_read() -> None:
    annotations = DATA / "annotations"
    records = load_coco_panoptic_json(
        str(annotations / "panoptic_val2017.json"),
        str(DATA / "val2017"),
        str(annotations / "panoptic_val2017"),
        coco_panoptic_metadata(),
    )
    segments = [segment for record in records for segment in record["segments_info"]]
    assert len(records) == 12
    assert len(segments) == 221
    assert sum(segment["isthing"] for segment in segments) == 179
    assert all((segment["category_id"] < 80) == segment["isthing"] for segment in segments)
