"""The smallest training that goes through everything: a config on six scenes of 64 x 64 pixels."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from seg_projects.data.datasets.shapes import prepare_shapes

REPOSITORY = Path(__file__).resolve().parents[1]

# A ResNet-18, which has one width alone, would make each checkpoint one of 135 MB.
NARROW_RESNET = {
    "DEPTH": 50,
    "STEM_OUT_CHANNELS": 16,
    "RES2_OUT_CHANNELS": 32,
    "WIDTH_PER_GROUP": 8,
}
TINY_MODEL: dict[str, Any] = {
    "META_ARCHITECTURE": "SegPanopticFPN",
    "DEVICE": "cpu",
    "RESNETS": NARROW_RESNET,
    "ANCHOR_GENERATOR": {"SIZES": [[8], [16], [32], [64], [128]]},
    "FPN": {"OUT_CHANNELS": 8, "NORM": ""},
    "RPN": {"POST_NMS_TOPK_TRAIN": 20, "POST_NMS_TOPK_TEST": 20},
    "ROI_HEADS": {"NUM_CLASSES": 3, "BATCH_SIZE_PER_IMAGE": 8, "SCORE_THRESH_TEST": 0.0},
    "ROI_BOX_HEAD": {"NUM_FC": 1, "FC_DIM": 8},
    "ROI_MASK_HEAD": {"NUM_CONV": 1, "CONV_DIM": 8, "NORM": ""},
    "SEM_SEG_HEAD": {"NUM_CLASSES": 4, "CONVS_DIM": 32},
    "PANOPTIC_FPN": {"COMBINE": {"STUFF_AREA_LIMIT": 16, "INSTANCES_CONFIDENCE_THRESH": 0.1}},
}


def prepare_tiny_shapes(root: Path) -> Path:
    """Makes 4 training and 2 validation scenes below ``root``; returns it, for DATASETS.ROOT."""
    prepare_shapes(root, num_train=4, num_val=2, size=(64, 64), seed=0)
    return root


def tiny_config(root: Path, output: Path, **parts: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a config that trains 2 iterations on the scenes below ``root``.

    ``parts`` (MODEL, SOLVER, ...) are merged over it, group by group.
    """
    config: dict[str, Any] = {
        "_BASE_": str(REPOSITORY / "configs" / "base_panoptic_fpn.yaml"),
        "DATASETS": {
            "ROOT": str(root),
            "PANOPTIC": [
                {
                    "NAME": f"tiny_{split}",
                    "IMAGES": f"shapes/{split}",
                    "PANOPTIC_JSON": f"shapes/annotations/panoptic_{split}.json",
                    "PANOPTIC_MASKS": f"shapes/annotations/panoptic_{split}",
                }
                for split in ("train", "val")
            ],
            "TRAIN": ["tiny_train"],
            "TEST": ["tiny_val"],
        },
        "MODEL": TINY_MODEL,
        "INPUT": {
            "MIN_SIZE_TRAIN": [64],
            "MIN_SIZE_TEST": 64,
            "MAX_SIZE_TRAIN": 64,
            "MAX_SIZE_TEST": 64,
        },
        "SOLVER": {"IMS_PER_BATCH": 2, "MAX_ITER": 2, "STEPS": [], "WARMUP_ITERS": 0},
        "DATALOADER": {"NUM_WORKERS": 0},
        "OUTPUT_DIR": str(output),
        "VERSION": 2,
        "SEED": 1,
    }
    return _merged(config, parts)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if nested else value
    return merged


def write_config(path: Path, content: Mapping[str, Any]) -> Path:
    """Writes ``content`` as YAML; returns ``path``."""
    path.write_text(yaml.safe_dump(dict(content)), encoding="utf-8")
    return path


def tool_main(name: str) -> Callable[[Sequence[str]], int]:
    """``main`` of ``tools/<name>.py``."""
    spec = importlib.util.spec_from_file_location(f"tool_{name}", REPOSITORY / f"tools/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def run_python(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs another interpreter that finds ``seg_projects`` as this one does."""
    paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
