"""One training of two iterations, shared by the tests of all tools."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
from tiny_runs import prepare_tiny_shapes, tiny_config, tool_main, write_config


class TinyRun(NamedTuple):
    """A trained run; tests leave its folders as they are."""

    root: Path  # of the data sets
    output: Path  # OUTPUT_DIR

    @property
    def config(self) -> Path:
        """The config that the training wrote."""
        return self.output / "config.yaml"


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """Trained by ``tools/train_net.py`` and evaluated, after the initial weights of a file."""
    folder = tmp_path_factory.mktemp("run")
    root, output = prepare_tiny_shapes(folder / "data"), folder / "output"
    # One checkpoint on the way, from which a training can be resumed.
    content = tiny_config(root, output, SOLVER={"CHECKPOINT_PERIOD": 1})
    config = write_config(folder / "tiny.yaml", content)
    assert tool_main("train_net")(["--config-file", str(config)]) == 0
    return TinyRun(root, output)
