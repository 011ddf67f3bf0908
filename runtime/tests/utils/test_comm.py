"""Communication: alone as recorded, and between two real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden import Golden

from detectron2.utils import comm


def test_a_single_process_needs_no_group() -> None:
    comm.synchronize()
    anything: Any = {"a": 1}
    got = [
        comm.get_world_size(),
        comm.get_rank(),
        comm.get_local_rank(),
        comm.is_main_process(),
        comm.all_gather(3),
        comm.gather(4),
        comm.reduce_dict(anything),
    ]
    assert got == Golden("predictor_and_misc").json("facts")["comm"]
    assert comm.get_local_size() == 1


def test_the_shared_seed_follows_numpys_stream() -> None:
    np.random.seed(0)  # noqa: NPY002
    expected = np.random.randint(2**31)  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    assert comm.shared_random_seed() == expected


def test_a_missing_local_group_is_explained() -> None:
    with pytest.raises(AssertionError, match="create_local_process_group"):
        comm.get_local_process_group()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes observed, by rank."""
    store = tmp_path_factory.mktemp("comm") / "store"
    script = Path(__file__).with_name("comm_process.py")
    runtime = str(Path(comm.__file__).parents[2])
    paths = [runtime, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), "2", str(store)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(2)
    ]
    observed = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=90)
            assert process.returncode == 0, err
            observed.append(json.loads(out.splitlines()[-1]))
    finally:
        for process in processes:
            process.kill()
    return observed


Pair = list[dict[str, Any]]


def test_processes_know_their_place(pair: Pair) -> None:
    assert [o["world"] for o in pair] == [[2, 0, True], [2, 1, False]]
    # Two machines with one process each.
    assert [o["local"] for o in pair] == [[1, 0], [1, 0]]


def test_all_processes_gather_all_objects(pair: Pair) -> None:
    expected = [{"rank": 0, "text": ""}, {"rank": 1, "text": "x"}]
    assert [o["all_gather"] for o in pair] == [expected, expected]
    assert [o["all_gather_alone"] for o in pair] == [[0], [1]]


def test_one_process_gathers_all_objects(pair: Pair) -> None:
    assert [o["gather"] for o in pair] == [[], [0, 1]]
    assert [o["gather_alone"] for o in pair] == [[0], [1]]


def test_processes_agree_on_the_first_ones_seed(pair: Pair) -> None:
    np.random.seed(0)  # noqa: NPY002
    expected = int(np.random.randint(2**31))  # noqa: NPY002
    assert [o["seed"] for o in pair] == [expected, expected]


def test_scalars_are_reduced_by_name_on_the_first_process(pair: Pair) -> None:
    # The values named a are 97 and 98, those named b 98 and 99.
    assert pair[0]["mean"] == {"a": 97.5, "b": 98.5}
    assert pair[0]["sum"] == {"a": 195.0, "b": 197.0}
