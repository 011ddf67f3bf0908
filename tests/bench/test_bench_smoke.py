"""Each benchmark runs on tiny inputs and reports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
SCRIPTS = ("import", "mapper", "models", "panoptic_merge", "paste_masks", "pq", "rle", "semantic")


@pytest.mark.parametrize("name", SCRIPTS)
def test_benchmark_prints_a_line_per_result_and_writes_json(name: str, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    command = [sys.executable, str(BENCH / f"bench_{name}.py"), "--quick", "--json", str(file)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    results = json.loads(file.read_text())["results"]
    assert len(results) == len(done.stdout.splitlines()) > 0
    assert all(one["ours"] > 0 and one["ratio"] is None for one in results)


def test_a_reference_gets_a_ratio_and_its_outputs_are_compared(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    command = [sys.executable, str(BENCH / "bench_rle.py"), "--quick", "--json", str(file)]
    # This interpreter as its own reference: the outputs are equal.
    subprocess.run([*command, "--reference-python", sys.executable], check=True)
    [result] = json.loads(file.read_text())["results"]
    assert result["ratio"] > 0
    assert result["outputs"] == "equal"


def test_the_doctor_is_timed_beside_decoding(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    command = [sys.executable, str(BENCH / "bench_doctor.py"), "--quick", "--json", str(file)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    results = json.loads(file.read_text())["results"]
    assert len(results) == len(done.stdout.splitlines()) == 2
    assert all(one["ratio"] > 0 for one in results)


def test_the_coverage_of_intervals_is_measured() -> None:
    few = ["--sets", "3", "--images", "40", "--draws", "30", "--many", "2000"]
    command = [sys.executable, str(BENCH / "interval_coverage.py"), *few]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows = [line.strip("| ").split("|") for line in done.stdout.splitlines()[2:]]
    values = {row[0].strip(): [float(cell) for cell in row[1:]] for row in rows}
    # Of eight populations of 50,000 images; 2000 tell AP to about 0.5.
    for name, value in (("PQ", 66.3), ("mIoU", 74.4), ("AP", 47.4)):
        assert values[name][0] == pytest.approx(value, abs=2)
        assert values[name][1] in (0, 33.3, 66.7, 100)
        assert values[name][2] > 0
