"""Semantic segmentation from a config file to figures, with each head."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import REPOSITORY, run_python, tool_main, write_config


def _write_images(root: Path) -> None:
    """Four images, bright where the label map says 255."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(4):
        bright = np.zeros((33, 47), dtype=bool)
        bright[:, number * 5 : number * 5 + 20] = True
        pixels = np.where(bright, 220, 40)[..., None] + rng.integers(0, 20, (33, 47, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(root / "images" / f"{number}.png")
        Image.fromarray((255 * bright).astype(np.uint8)).save(root / "labels" / f"{number}.png")


def _config(root: Path, output: Path, head: str) -> dict[str, Any]:
    entry = {
        "IMAGES": "images",
        "LABELS": "labels",
        "CLASSES": ["dark", "bright"],
        "VALUE_MAP": {0: 0, 255: 1},
    }
    return {
        "_BASE_": str(REPOSITORY / "configs" / "base_semantic.yaml"),
        "DATASETS": {
            "ROOT": str(root),
            "SEMANTIC": [
                entry | {"NAME": "maps_train", "STEMS": [0, 1, 2]},
                entry | {"NAME": "maps_test", "STEMS": [3]},
            ],
            "TRAIN": ["maps_train"],
            "TEST": ["maps_test"],
        },
        "MODEL": {
            "DEVICE": "cpu",
            "UNET": {"CHANNELS": [8, 8, 8]},
            "SEM_SEG_HEAD": {
                "NAME": head,
                "NUM_CLASSES": 2,
                "CONVS_DIM": 8,
                "IN_FEATURES": ["down0", "down1", "down2"],
            },
            "SLIDING_WINDOW": {"SIZE": [24, 24]},
        },
        "INPUT": {
            "MIN_SIZE_TRAIN": [33],
            "MAX_SIZE_TRAIN": 47,
            "MIN_SIZE_TEST": 33,
            "MAX_SIZE_TEST": 47,
        },
        "SOLVER": {"IMS_PER_BATCH": 2, "MAX_ITER": 12, "BASE_LR": 0.02, "WARMUP_ITERS": 0},
        "DATALOADER": {"NUM_WORKERS": 0},
        "OUTPUT_DIR": str(output),
    }


@pytest.mark.parametrize("head", ["FCNHead", "UNetHead", "AttentionUNetHead"])
def test_trains_and_evaluates(head: str, tmp_path: Path) -> None:
    _write_images(tmp_path / "data")
    output = tmp_path / "output"
    content = _config(tmp_path / "data", output, head)
    config = write_config(tmp_path / "config.yaml", content)
    assert tool_main("train_net")(["--config-file", str(config)]) == 0
    results = json.loads((output / "evaluation.json").read_text())["sem_seg"]
    assert {"mIoU", "pACC", "IoU-dark", "IoU-bright"} <= results.keys()
    # All of one class is a share of 27/47 and mIoU 29: the brightness has been learnt.
    assert results["mIoU"] > 60
    model = torch.load(output / "model_final.pth", weights_only=True)["model"]
    assert "backbone.levels.2.1.weight" in model


def test_class_count_of_the_data_is_checked_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write_images(tmp_path / "data")
    content = _config(tmp_path / "data", tmp_path / "output", "UNetHead")
    content["MODEL"]["SEM_SEG_HEAD"]["NUM_CLASSES"] = 5
    config = write_config(tmp_path / "config.yaml", content)
    assert tool_main("train_net")(["--config-file", str(config)]) == 2
    wanted = "MODEL.SEM_SEG_HEAD.NUM_CLASSES is 5, but data set 'maps_train' has 2 stuff_classes"
    assert wanted in capsys.readouterr().err.replace("maps_test", "maps_train")


KILLED_WHILE_WRITING = """
import os, signal, sys
sys.path[:0] = {path}
import torch
from tiny_runs import tool_main
save, written = torch.save, []
def half(content, file):
    if written:
        file.write(bytes(1000))
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    written.append(save(content, file))
torch.save = half
tool_main("train_net")(["--config-file", sys.argv[1]])
"""


def test_a_training_killed_while_writing_resumes_from_the_checkpoint_before(tmp_path: Path) -> None:
    _write_images(tmp_path / "data")
    output = tmp_path / "output"
    content = _config(tmp_path / "data", output, "FCNHead")
    content["SOLVER"] |= {"MAX_ITER": 3, "CHECKPOINT_PERIOD": 1}
    content["DATASETS"]["TEST"] = []
    config = write_config(tmp_path / "config.yaml", content)
    done = run_python("-c", KILLED_WHILE_WRITING.format(path=sys.path), str(config), cwd=tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (output / "last_checkpoint").read_text() == "model_0000000.pth"
    assert not (output / "model_0000001.pth").exists()
    assert torch.load(output / "model_0000000.pth", weights_only=True)["iteration"] == 0
    assert tool_main("train_net")(["--config-file", str(config), "--resume"]) == 0
    assert (output / "last_checkpoint").read_text() == "model_final.pth"
    assert torch.load(output / "model_final.pth", weights_only=True)["iteration"] == 2
