"""The programs of docs/examples give the numbers that Detectron2 gives, on what is installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "docs" / "examples"
RUN = (
    "import importlib, json, sys, torch; from pathlib import Path; torch.set_num_threads(1); "
    "program = importlib.import_module(sys.argv[1]); "
    "Path(sys.argv[3]).write_text(json.dumps(program.main(Path(sys.argv[2]))))"
)
# Recorded with Detectron2: every iteration's losses, the metrics and the scalars of the hook.
RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(RECORDED))
def test_example_gives_the_recorded_numbers(name: str, tmp_path: Path) -> None:
    result = tmp_path / "numbers.json"
    # A process of its own: the programs register data sets and modules.
    subprocess.run(
        [sys.executable, "-c", RUN, name, str(tmp_path / "output"), str(result)],
        env={**os.environ, "PYTHONPATH": str(EXAMPLES), "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        timeout=600,
    )
    numbers = json.loads(result.read_text())
    assert set(numbers) == set(RECORDED[name])
    for key, values in RECORDED[name].items():
        assert numbers[key] == pytest.approx(values, rel=1e-4), key
