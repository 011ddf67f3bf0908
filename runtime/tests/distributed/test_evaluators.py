"""Several processes evaluate as one does: real processes, started by torchrun."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

PROGRAM = Path(__file__).parent / "evaluators_program.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not dist.is_available(), reason="torch has no distributed package"),
]


def evaluated(folder: Path, processes: int) -> dict[str, Any]:
    """What the program leaves when ``processes`` share the images."""
    spec = importlib.util.spec_from_file_location("evaluators_program", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    folder.mkdir()
    program.write_truth(folder)
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, str(PROGRAM), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "results.json").read_text())


def test_two_processes_give_the_results_of_one(tmp_path: Path) -> None:
    alone, shared = evaluated(tmp_path / "one", 1), evaluated(tmp_path / "two", 2)
    assert (alone["world"], shared["world"]) == (1, 2)
    assert alone["seen"] == [[0, 1, 2, 3, 4]]
    # The first process takes the odd image.
    assert shared["seen"] == [[0, 1, 2], [3, 4]]
    # As text, because NaN equals nothing: the same to the last digit, in the same order.
    assert json.dumps(shared["results"]) == json.dumps(alone["results"])
    assert set(alone["results"]) == {"bbox", "segm", "sem_seg", "panoptic_seg"}
    for task, name in (("bbox", "AP"), ("segm", "AP"), ("sem_seg", "mIoU"), ("panoptic_seg", "PQ")):
        assert 10 < alone["results"][task][name] < 99
