"""Six small scenes for all tests of the engine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_runs import prepare_tiny_shapes


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root folder of the data sets."""
    return prepare_tiny_shapes(tmp_path_factory.mktemp("data"))


@pytest.fixture
def our_warnings() -> Iterator[list[str]]:
    """Fills with what ``seg_projects`` warns of, wherever else its logger leads."""
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("seg_projects")
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)
