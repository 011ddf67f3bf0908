"""The package as such: what importing it says, and that every config of it builds."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from tiny_runs import REPOSITORY, prepare_tiny_shapes, run_python

from detectron2.modeling import build_model
from seg_projects.engine import load_config, prepare

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


@pytest.mark.parametrize("leaf", LEAVES)
def test_leaf_builds_its_model(leaf: str) -> None:
    cfg = load_config(CONFIGS / leaf, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""])
    model = build_model(cfg)
    assert type(model).__name__ == cfg.MODEL.META_ARCHITECTURE


@pytest.mark.parametrize("leaf", LEAVES)
def test_leaf_declares_the_data_sets_that_it_names(leaf: str) -> None:
    cfg = load_config(CONFIGS / leaf, ["MODEL.DEVICE", "cpu"])
    declared = {e["NAME"] for e in (*cfg.DATASETS.PANOPTIC, *cfg.DATASETS.SEMANTIC)}
    assert declared == {*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST}


@pytest.mark.parametrize("leaf", LEAVES)
def test_leaf_has_the_class_counts_of_its_data(
    leaf: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if "shapes" in leaf:
        root = prepare_tiny_shapes(tmp_path)
    else:
        root = request.getfixturevalue("shared_data")
    overrides = ["MODEL.DEVICE", "cpu", "DATASETS.ROOT", str(root)]
    cfg = load_config(CONFIGS / leaf, [*overrides, "OUTPUT_DIR", str(tmp_path / "output")])
    entries = (*cfg.DATASETS.PANOPTIC, *cfg.DATASETS.SEMANTIC)
    if not all((root / entry["IMAGES"]).is_dir() for entry in entries):
        pytest.skip(f"the data of {leaf} are absent")
    # Refuses counts that disagree.
    prepare(cfg, argparse.Namespace(config_file="", eval_only=False, resume=False))
    assert (tmp_path / "output" / "categories.json").is_file() == bool(cfg.DATASETS.PANOPTIC)
