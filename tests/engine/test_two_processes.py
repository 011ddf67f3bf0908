"""Each meta-architecture learns in two processes; parameters that no loss reaches are named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_runs import REPOSITORY

# Their ResNet-18 has one width alone, and a checkpoint of 135 MB.
NARROW = "=MODEL.RESNETS.DEPTH=50=MODEL.RESNETS.RES2_OUT_CHANNELS=32"
CONFIGS = [
    f"overfit/panoptic_fpn_coco{NARROW}",
    f"overfit/panoptic_deeplab_coco{NARROW}",
    "voc/icnet",
    "membrane/unet=MODEL.UNET.NORM=naiveSyncBN=MODEL.SEM_SEG_HEAD.NORM=naiveSyncBN",
]
# No map coarser than res3 is read.
UNREACHED = "voc/fcn=MODEL.SEM_SEG_HEAD.IN_FEATURES=['res3']"


def test_two_processes_end_with_the_same_parameters(tmp_path: Path) -> None:
    paths = [str(REPOSITORY), str(REPOSITORY / "tests"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    script = str(REPOSITORY / "tests" / "two_processes.py")
    started = [
        subprocess.Popen(
            [sys.executable, script, str(rank), str(tmp_path), *CONFIGS, UNREACHED],
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
    for part in (
        "voc/fcn Parameters that no loss reaches (87): backbone.res4, backbone.res5. No head",
        "feature maps res2, res4, res5: add them to a head's IN_FEATURES, or leave them out",
        "(MODEL.RESNETS.OUT_FEATURES). Parameters",
    ):
        assert part in outputs[0]
