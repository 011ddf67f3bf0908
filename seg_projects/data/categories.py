"""The categories of a model's output: what its classes and labels mean outside the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from detectron2.data import Metadata
from seg_projects.colors import spread_color
from seg_projects.errors import UserError
from seg_projects.files import write_json
from seg_projects.postprocessing.panoptic_labels import segments_of_labels

LABEL_DIVISOR = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputCategories:
    """COCO categories and their place in the output of a panoptic model."""

    records: list[dict[str, Any]]
    """``id``, ``name``, ``isthing``, ``color`` of each, in the order of their ids."""
    thing_ids: dict[int, int]
    """Category id -> class of an instance, in [0, T)."""
    stuff_ids: dict[int, int]
    """Category id -> semantic label; the id 0, no category, stands for all things.

    Where things have labels of their own, in Panoptic-DeepLab, there is no 0."""
    label_divisor: int = LABEL_DIVISOR
    """Of panoptic maps without segments: class * label_divisor + number."""

    @classmethod
    def from_metadata(cls, metadata: Metadata) -> OutputCategories:
        """The categories that a registered panoptic data set has."""
        thing_ids = metadata.thing_dataset_id_to_contiguous_id
        stuff_ids = metadata.stuff_dataset_id_to_contiguous_id
        records = [
            {"id": i, "name": names[label], "isthing": int(is_thing), "color": list(colors[label])}
            for is_thing, ids, names, colors in (
                (True, thing_ids, metadata.thing_classes, metadata.thing_colors),
                (False, stuff_ids, metadata.stuff_classes, metadata.stuff_colors),
            )
            for i, label in ids.items()
            if is_thing or i not in (0, *thing_ids)
        ]
        records.sort(key=lambda record: record["id"])
        return cls(
            records=records,
            thing_ids=dict(thing_ids),
            stuff_ids=dict(stuff_ids),
            label_divisor=metadata.get("label_divisor", LABEL_DIVISOR),
        )

    @classmethod
    def read(cls, path: Path) -> OutputCategories:
        """What :meth:`write` wrote to ``path``."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                records=content["categories"],
                thing_ids={int(i): c for i, c in content["thing_ids"].items()},
                stuff_ids={int(i): c for i, c in content["stuff_ids"].items()},
                label_divisor=int(content.get("label_divisor", LABEL_DIVISOR)),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is no file of categories: {error!r}.") from error

    def write(self, path: Path) -> None:
        """Writes the JSON file ``path``."""
        content = {
            "categories": self.records,
            "thing_ids": self.thing_ids,
            "stuff_ids": self.stuff_ids,
            "label_divisor": self.label_divisor,
        }
        write_json(path, content)

    @property
    def joint(self) -> bool:
        """Whether things and stuff are numbered together, as Panoptic-DeepLab needs it."""
        return 0 not in self.stuff_ids

    @property
    def num_semantic_classes(self) -> int:
        """Classes of the semantic head: all, or those of stuff and one for all things."""
        return len(self.records) if self.joint else len(self.stuff_ids)

    def described(
        self, panoptic: Tensor, segments: list[dict[str, Any]] | None
    ) -> tuple[Tensor, list[dict[str, Any]]]:
        """A model's (H, W) map of segment ids, 0 for void, and its segments.

        Where ``segments`` is None, as Panoptic-DeepLab gives it, both follow from the labels.
        """
        if segments is not None:
            return panoptic, segments
        return segments_of_labels(
            panoptic,
            thing_classes=set(self.thing_ids.values()),
            label_divisor=self.label_divisor,
        )

    def category_ids(self, segments: list[dict[str, Any]]) -> list[int]:
        """The category id of each predicted segment (``isthing``, ``category_id``)."""
        thing_of, stuff_of = _inverse(self.thing_ids), _inverse(self.stuff_ids)
        return [(thing_of if s["isthing"] else stuff_of)[s["category_id"]] for s in segments]


def output_categories(metadata: Metadata) -> OutputCategories:
    """The categories that a model trained on a data set gives, by the data set's metadata.

    Panoptic categories have the ids of their file; so have those of instances, or ids from 1 where
    there is no file; classes of label maps are their own ids, from 0.
    """
    has_things = bool(metadata.get("thing_classes"))
    if has_things and metadata.get("stuff_dataset_id_to_contiguous_id"):
        return OutputCategories.from_metadata(metadata)
    side = "thing" if has_things else "stuff"
    names = metadata.get(f"{side}_classes")
    if not names:
        raise UserError(f"Data set {metadata.name!r} has neither thing_classes nor stuff_classes.")
    first = 1 if has_things else 0
    ids = metadata.get(f"{side}_dataset_id_to_contiguous_id") or {
        label + first: label for label in range(len(names))
    }
    colors = metadata.get(f"{side}_colors") or [spread_color(i) for i in range(len(names))]
    records = [
        {
            "id": category_id,
            "name": names[label],
            "isthing": int(has_things),
            "color": list(colors[label]),
        }
        for category_id, label in sorted(ids.items())
    ]
    things, stuff = (dict(ids), {}) if has_things else ({}, dict(ids))
    return OutputCategories(records=records, thing_ids=things, stuff_ids=stuff)


def _inverse(ids: Mapping[int, int]) -> dict[int, int]:
    return {label: category for category, label in ids.items()}
