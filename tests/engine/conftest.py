"""Six small scenes for all tests of the engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_runs import prepare_tiny_shapes


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root folder of the data sets."""
    return prepare_tiny_shapes(tmp_path_factory.mktemp("data"))
