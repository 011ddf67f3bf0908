"""Each meta-architecture learns in two processes: no parameter is left without a gradient."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_runs import REPOSITORY

CONFIGS = [
    "overfit/panoptic_fpn_coco",
    "overfit/panoptic_deeplab_coco",
    "voc/icnet",
    "membrane/unet=MODEL.UNET.NORM=naiveSyncBN=MODEL.SEM_SEG_HEAD.NORM=naiveSyncBN",
]


def test_two_processes_end_with_the_same_parameters(tmp_path: Path) -> None:
    paths = [str(REPOSITORY), str(REPOSITORY / "tests"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    script = str(REPOSITORY / "tests" / "two_processes.py")
    started = [
        subprocess.Popen(
            [sys.executable, script, str(rank), str(tmp_path), *CONFIGS],
            env={**environment, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=240)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    if "got device_ids [0], output_device None, and module parameters" in outputs[0]:
        pytest.skip("the installed Detectron2 trains in several processes on GPUs alone")
    assert [process.returncode for process in started] == [0, 0], outputs[0][-2000:]
    for text in CONFIGS:
        assert f"{text.partition('=')[0]} True" in outputs[0]
