"""Shared by all tests: few threads, fixed seeds, and tiny panoptic data sets on disk."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

# The cores are shared with pytest-xdist's other workers; the tools that tests start inherit this.
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, min(2, (os.cpu_count() or 1) // _WORKERS))))
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

# Ids with gaps, stuff between things: code that takes ids for indices fails.
CATEGORIES = [
    {"id": 3, "name": "cat", "isthing": 1, "color": [220, 20, 60]},
    {"id": 5, "name": "sky", "isthing": 0, "color": [70, 130, 180]},
    {"id": 8, "name": "dog", "isthing": 1, "color": [0, 0, 142]},
    {"id": 11, "name": "grass", "isthing": 0, "color": [107, 142, 35]},
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked ``gpu`` are skipped where there is no CUDA device."""
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _open_log_streams() -> None:
    """Gives loggers that an earlier test has set up another stream than that test's closed one."""
    named = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    for handler in [handler for logger in (logging.root, *named) for handler in logger.handlers]:
        if getattr(getattr(handler, "stream", None), "closed", False):
            handler.stream = sys.stdout


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real sample data beside the repository, or a skip."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the real sample data (../shared/data) are absent")
    return path


# Segments of one image: (id, category id, is crowd).
Segments = Sequence[tuple[int, int, int]]
WritePanoptic = Callable[[Path, Sequence[tuple[np.ndarray, Segments]]], Path]


def write_panoptic_files(root: Path, scenes: Sequence[tuple[np.ndarray, Segments]]) -> Path:
    """Writes one image, PNG and annotation per scene (id map, segments); returns the JSON."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    images, annotations = [], []
    for number, (ids, segments) in enumerate(scenes):
        height, width = ids.shape
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{number}.png")
        rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
        Image.fromarray(rgb).save(root / "masks" / f"{number}.png")
        images.append(
            {"id": number, "file_name": f"{number}.png", "height": height, "width": width}
        )
        infos = [
            {"id": i, "category_id": c, "iscrowd": crowd, "area": int((ids == i).sum())}
            for i, c, crowd in segments
        ]
        annotations.append(
            {"image_id": number, "file_name": f"{number}.png", "segments_info": infos}
        )
    path = root / "panoptic.json"
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def write_panoptic() -> WritePanoptic:
    """Writes a panoptic data set of given id maps below a folder: images/, masks/, JSON."""
    return write_panoptic_files
