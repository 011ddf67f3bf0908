"""The package as such: what importing it says, and that every config of it builds."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import REPOSITORY, prepare_tiny_shapes, run_python, tool_main

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from seg_projects.engine import load_config, prepare
from seg_projects.engine.setup import DESCRIBED_TYPES

CONFIGS = REPOSITORY / "configs"
LEAVES = sorted(
    path.relative_to(CONFIGS).as_posix()
    for path in CONFIGS.rglob("*.yaml")
    if not path.name.startswith("base_")
)


def test_without_detectron2_the_import_names_both_ways(tmp_path: Path) -> None:
    # Without site-packages the interpreter sees what stands on this path alone.
    (tmp_path / "seg_projects").symlink_to(REPOSITORY / "seg_projects")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import seg_projects"
    result = run_python("-I", "-S", "-c", program, cwd=tmp_path)
    assert result.returncode == 1
    last = result.stderr[result.stderr.index("ModuleNotFoundError") :]
    assert "no `detectron2` is installed" in last
    assert "pip install ./runtime" in last
    assert "the real Detectron2" in last


def test_importing_the_package_alone_needs_no_torch(tmp_path: Path) -> None:
    program = "import sys, seg_projects; assert not {'torch', 'detectron2'} & sys.modules.keys()"
    result = run_python("-c", program, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_there_are_leaves() -> None:
    assert "quickstart/panoptic_fpn_shapes.yaml" in LEAVES


def _entries(cfg: CfgNode) -> list[dict[str, Any]]:
    kinds = ("PANOPTIC", "INSTANCES", "SEMANTIC", "CLASS_MASKS", "INSTANCE_MASKS")
    return [dict(entry) for kind in kinds for entry in cfg.DATASETS[kind]]


@pytest.mark.parametrize("leaf", LEAVES)
def test_leaf_builds_its_model(leaf: str) -> None:
    cfg = load_config(CONFIGS / leaf, ["MODEL.DEVICE", "meta", "MODEL.WEIGHTS", ""])
    if cfg.MODEL.BACKBONE.NAME.startswith("build_timm_"):
        pytest.importorskip("timm", reason="the extra `models` is not installed")
    if "PanopticDeepLab" in cfg.MODEL.META_ARCHITECTURE and cfg.DATASETS.PANOPTIC:
        # It reads the classes of its data set, whose files are absent here.
        cfg.DATASETS.TRAIN = ("coco_2017_train_panoptic",)
    # Without memory for the weights of the large ones.
    with torch.device("meta"):
        model = build_model(cfg)
    assert type(model).__name__ == cfg.MODEL.META_ARCHITECTURE


@pytest.mark.parametrize("leaf", LEAVES)
def test_leaf_declares_the_data_sets_that_it_names(leaf: str) -> None:
    cfg = load_config(CONFIGS / leaf, ["MODEL.DEVICE", "cpu"])
    declared = {entry["NAME"] for entry in _entries(cfg)}
    named = {*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST}
    assert declared <= named
    assert named - declared <= set(DatasetCatalog.list())


def _prepare_instances(name: str, source: Path, root: Path) -> None:
    """Makes below ``root`` what the first lines of ``configs/instance/NAME.yaml`` say."""
    if name == "nuclei":
        # Without the masks, whose conversion takes long.
        (root / name / "all").mkdir(parents=True)
        folders = sorted((source / "dsb2018_nuclei" / "stage1_train").iterdir())
        records = [
            {"id": i, "file_name": f"{folder.name}.png", "height": 1, "width": 1}
            for i, folder in enumerate(folders, start=1)
        ]
        categories = [{"id": 1, "name": "nucleus"}]
        content = {"images": records, "annotations": [], "categories": categories}
        (root / name / "all.json").write_text(json.dumps(content))
        return
    words = ["--to", "instances", "--output", str(root / name)]
    words += ["--default-label", "balloon", "--things", "balloon"]
    for part in ("train", "val"):
        files = str(source / name / part)
        assert tool_main("convert")(["via", files, "--name", part, *words]) == 0


# Configs of one's own files have no data set to agree with.
@pytest.mark.parametrize(
    "leaf", [leaf for leaf in LEAVES if not leaf.startswith(("own/", "masks/"))]
)
def test_leaf_has_the_class_counts_of_its_data(
    leaf: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = tmp_path
    if "shapes" in leaf:
        prepare_tiny_shapes(root)
    elif leaf in ("instance/balloon.yaml", "instance/nuclei.yaml"):
        source = request.getfixturevalue("shared_data")
        _prepare_instances(Path(leaf).stem, source, root)
    else:
        root = request.getfixturevalue("shared_data")
    overrides = ["MODEL.DEVICE", "cpu", "DATASETS.ROOT", str(root)]
    # Data sets that are known by name need not be here: their classes are known all the same.
    overrides += ["DATASETS.CHECK", "False", "OUTPUT_DIR", str(tmp_path / "output")]
    cfg = load_config(CONFIGS / leaf, overrides)
    # Refuses counts that disagree.
    prepare(cfg, argparse.Namespace(config_file="", eval_only=False, resume=False))
    described = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).evaluator_type in DESCRIBED_TYPES
    assert (tmp_path / "output" / "categories.json").is_file() == described
