"""What data sets that a config declares have in common: their entries, folders and names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from seg_projects.errors import UserError


def dataset_root(cfg: CfgNode) -> Path:
    """The folder that relative paths of declared data sets start from."""
    return Path(cfg.DATASETS.ROOT or os.environ.get("DETECTRON2_DATASETS", "datasets"))


def declared_entries(
    cfg: CfgNode, group: str, required: tuple[str, ...], optional: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """The entries of ``cfg.DATASETS[group]``, each one checked before it is given.

    Raises:
        UserError: an entry is no dict, has an unknown key or lacks a ``required`` one.
    """
    key, known = f"DATASETS.{group}", required + optional
    for entry in cfg.DATASETS[group]:
        if not isinstance(entry, dict):
            raise UserError(f"{key} holds {entry!r}; each entry is a dict of {', '.join(known)}.")
        if unknown := sorted(set(entry) - set(known)):
            raise UserError(f"{key} has the unknown key {unknown[0]!r}; known: {known}.")
        if missing := [name for name in required if name not in entry]:
            raise UserError(f"{key} entry {entry.get('NAME', entry)!r} lacks {missing}.")
        yield entry


def require_present(name: str, *, paths: Iterable[Path] = (), folders: Iterable[Path] = ()) -> None:
    """Checks that ``paths``, of any kind, and ``folders`` of the data set ``name`` are there.

    Raises:
        UserError: one is not; it says where relative paths start.
    """
    absent = [f"{path} does not exist" for path in paths if not path.exists()]
    absent += [f"{path} is no folder" for path in folders if not path.is_dir()]
    if absent:
        raise UserError(
            f"Data set {name!r}: {absent[0]}. Relative paths start from DATASETS.ROOT in the "
            "config, else from the environment variable DETECTRON2_DATASETS, else from "
            "./datasets; datasets/README.md shows the folders."
        )


def forget_dataset(name: str) -> None:
    """Takes ``name`` out of the catalogs, if it is there, so that it can be registered anew."""
    if name in DatasetCatalog.list():
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
