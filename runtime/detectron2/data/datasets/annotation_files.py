"""Reading and writing of annotation files, with errors that say what to do."""

from __future__ import annotations

import json
import os
from typing import Any

from detectron2.utils.atomic import atomic_write
from detectron2.utils.file_io import PathManager

__all__ = ["missing_data_error", "read_json", "write_json"]


def missing_data_error(path: str, dataset_name: str | None) -> FileNotFoundError:
    """The error for an annotation file or folder of a data set that is not there."""
    whose = f" of the data set {dataset_name!r}" if dataset_name else ""
    root = os.environ.get("DETECTRON2_DATASETS")
    return FileNotFoundError(
        f"{path}{whose} does not exist. The built-in data sets are looked for under"
        f" $DETECTRON2_DATASETS ({root or 'unset, so ./datasets'}); set it to the folder that holds"
        " them, or correct the path given at registration."
    )


def read_json(path: str, dataset_name: str | None = None) -> Any:
    """The content of a JSON file; ``dataset_name`` is named in errors."""
    local = PathManager.get_local_path(path)
    try:
        with open(local, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        raise missing_data_error(path, dataset_name) from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


def write_json(path: str, value: Any) -> None:
    """Writes ``value`` as JSON; readers see the old file or the whole new one, never a part."""
    text = json.dumps(value)
    with atomic_write(path, "w") as file:
        file.write(text)
