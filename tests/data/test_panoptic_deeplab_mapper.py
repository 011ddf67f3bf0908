"""The mapper of Panoptic-DeepLab: the recorded inputs, crops, and data sets with joint classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden import Golden
from PIL import Image

from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data import transforms as T
from seg_projects.config import add_seg_projects_config
from seg_projects.data import PanopticDeepLabMapper, declare_panoptic_datasets
from seg_projects.data.panoptic_deeplab_targets import PanopticDeepLabTargetGenerator
from seg_projects.errors import UserError


def test_training_input_is_the_recorded_one(tmp_path: Path) -> None:
    case = Golden("dataset_mapper")
    for name in ("image", "pan"):
        Image.fromarray(case.input_array(name)).save(tmp_path / f"{name}.png")
    record = {
        "file_name": str(tmp_path / "image.png"),
        "pan_seg_file_name": str(tmp_path / "pan.png"),
        "height": 80,
        "width": 120,
        "image_id": 1,
        "segments_info": case.params["segments"],
    }
    before = repr(record)
    mapper = PanopticDeepLabMapper(
        augmentations=[T.ResizeShortestEdge(60, 200), T.HFlipTransform(90)],
        image_format="RGB",
        generate_targets=PanopticDeepLabTargetGenerator(**case.params["gen"]),
    )
    found = mapper(record)
    assert repr(record) == before
    assert sorted(found) == case.json("facts")["pdl"]["keys"]
    for name in case.output_names():
        if name.startswith("pdl_"):
            value = found[name.removeprefix("pdl_")]
            case.check(name, np.array(value) if isinstance(value, list) else value)


@pytest.fixture
def scene(tmp_path: Path, write_panoptic: Any) -> Path:
    """One scene of 8 x 12 pixels: dog and cat on the left, grass, a sky that fills the right."""
    ids = np.full((8, 12), 300)
    ids[:4, :2], ids[4:, :2], ids[:, 2:4] = 1, 2, 7
    ids[0, 11] = 0
    write_panoptic(tmp_path / "set", [(ids, [(1, 8, 0), (2, 3, 0), (300, 5, 0), (7, 11, 0)])])
    return tmp_path


def _config(root: Path, *opts: Any, architecture: str = "SegPanopticDeepLab") -> CfgNode:
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    cfg.DATASETS.ROOT = str(root)
    files = {"IMAGES": "images", "PANOPTIC_JSON": "panoptic.json", "PANOPTIC_MASKS": "masks"}
    files = {key: f"set/{name}" for key, name in files.items()}
    cfg.DATASETS.PANOPTIC = [{"NAME": "joint_scene", **files}]
    cfg.DATASETS.TRAIN = ("joint_scene",)
    cfg.MODEL.META_ARCHITECTURE = architecture
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (8,), "none"
    cfg.merge_from_list(list(opts))
    declare_panoptic_datasets(cfg)
    return cfg


def test_joint_classes_count_things_first_then_stuff(scene: Path) -> None:
    _config(scene)
    metadata = MetadataCatalog.get("joint_scene")
    # Categories 3 cat, 5 sky, 8 dog, 11 grass; sky and grass are stuff.
    assert metadata.thing_dataset_id_to_contiguous_id == {3: 0, 8: 1}
    assert metadata.stuff_dataset_id_to_contiguous_id == {5: 2, 11: 3}
    assert metadata.thing_classes == ["cat", "dog"]
    assert metadata.stuff_classes == ["cat", "dog", "sky", "grass"]
    assert len(metadata.stuff_colors) == 4
    segments = DatasetCatalog.get("joint_scene")[0]["segments_info"]
    assert [s["category_id"] for s in segments] == [1, 0, 2, 3]


def test_declaring_twice_and_for_panoptic_fpn_gives_each_its_classes(scene: Path) -> None:
    for _ in range(2):
        _config(scene)
        assert MetadataCatalog.get("joint_scene").stuff_dataset_id_to_contiguous_id[5] == 2
    _config(scene, architecture="SegPanopticFPN")
    assert MetadataCatalog.get("joint_scene").stuff_dataset_id_to_contiguous_id[5] == 1
    segments = DatasetCatalog.get("joint_scene")[0]["segments_info"]
    assert [s["category_id"] for s in segments] == [8, 3, 5, 11]


def test_config_gives_targets_of_the_declared_set(scene: Path) -> None:
    cfg = _config(scene, "INPUT.SMALL_INSTANCE_AREA", 9, "INPUT.SMALL_INSTANCE_WEIGHT", 5)
    found = PanopticDeepLabMapper(cfg)(DatasetCatalog.get("joint_scene")[0])
    assert found["sem_seg"][:, ::2].tolist()[0] == [1, 3, 2, 2, 2, 2]
    assert found["sem_seg"][0, 11] == 255
    # Both things have 8 pixels, fewer than 9; stuff has no offset.
    assert found["sem_seg_weights"][0, :4].tolist() == [5, 5, 1, 1]
    assert found["offset_weights"][0, 0, :4].tolist() == [1, 1, 0, 0]
    assert found["center_points"] == [[1.5, 0.5], [5.5, 0.5]]


def test_crop_shows_enough_of_several_classes(scene: Path) -> None:
    np.random.seed(0)  # noqa: NPY002 - the generator of Detectron2's augmentations
    crop = ("INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", "absolute", "INPUT.CROP.SIZE", (4, 6))
    cfg = _config(scene, *crop, "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA", 0.7)
    mapper = PanopticDeepLabMapper(cfg)
    for _ in range(10):
        found = mapper(DatasetCatalog.get("joint_scene")[0])
        assert found["image"].shape == (3, 4, 6)
        # Sky, class 2, would fill a crop that begins right of column 3.
        assert (found["sem_seg"] == 2).float().mean() < 0.7


def test_image_and_targets_are_cropped_and_flipped_together(scene: Path) -> None:
    generate = PanopticDeepLabTargetGenerator(ignore_label=255, thing_ids={0, 1})
    _config(scene)
    record = DatasetCatalog.get("joint_scene")[0]
    augmentations = [T.CropTransform(0, 0, 4, 8), T.HFlipTransform(4)]
    mapper = PanopticDeepLabMapper(
        augmentations=augmentations, image_format="RGB", generate_targets=generate
    )
    found = mapper(record)
    pixels = np.asarray(Image.open(record["file_name"]))[:, 3::-1]
    assert np.array_equal(found["image"].permute(1, 2, 0).numpy(), pixels)
    assert found["sem_seg"][0].tolist() == [3, 3, 1, 1]
    # From the pixel in the corner to the dog's centre, (1.5, 2.5).
    assert found["offset"][:, 0, 3].tolist() == [1.5, -0.5]


def test_for_targets_on_the_device_the_ids_are_shipped(scene: Path) -> None:
    cfg = _config(scene, "MODEL.PANOPTIC_DEEPLAB.TARGETS_ON_DEVICE", True)
    found = PanopticDeepLabMapper(cfg)(DatasetCatalog.get("joint_scene")[0])
    assert "center" not in found
    assert found["panoptic_ids"][:, 0].tolist() == [1] * 4 + [2] * 4
    assert len(found["segments_info"]) == 4


def test_record_of_instances_alone_is_named(scene: Path) -> None:
    cfg = _config(scene)
    record = DatasetCatalog.get("joint_scene")[0]
    del record["pan_seg_file_name"]
    with pytest.raises(UserError, match=r"images/0\.png has no pan_seg_file_name"):
        PanopticDeepLabMapper(cfg)(record)


def test_png_of_another_size_names_both_sizes(scene: Path) -> None:
    cfg = _config(scene)
    record = DatasetCatalog.get("joint_scene")[0]
    Image.new("RGB", (3, 2)).save(record["pan_seg_file_name"])
    with pytest.raises(UserError, match=r"size \(2, 3\), its image .* \(8, 12\)"):
        PanopticDeepLabMapper(cfg)(record)
