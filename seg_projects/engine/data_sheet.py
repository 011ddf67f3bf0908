"""Pictures of what a config's mapper and augmentations make of its training data."""

from __future__ import annotations

import io
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detectron2.config import CfgNode
from detectron2.data import DatasetMapper, MetadataCatalog, get_detection_dataset_dicts
from detectron2.utils.env import seed_all_rng
from seg_projects.data.loading import build_train_mapper, train_mapper_class
from seg_projects.errors import UserError
from seg_projects.files import write_atomically
from seg_projects.visualization.overlay import side_by_side
from seg_projects.visualization.training_inputs import input_panels

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body {{ font-family: sans-serif; margin: 2em; }} img {{ max-width: 100%; }}
figure {{ margin: 0 0 2em; }} figcaption {{ color: #555; }}</style></head>
<body><h1>{title}</h1><p>{summary}</p>
{figures}
</body></html>
"""


def write_data_sheet(
    cfg: CfgNode, output_dir: Path, *, num_samples: int, repeats: int = 1, seed: int = 0
) -> Path:
    """Writes a PNG per training input and ``index.html``, which shows all; returns its path.

    Args:
        cfg: whose ``DATASETS.TRAIN`` is declared and registered.
        output_dir: made if it is not there.
        num_samples: records, drawn at random.
        repeats: inputs per record, which differ by their augmentations.
        seed: of the draws and the augmentations.

    Raises:
        UserError: a number is below 1, or a file of the data cannot be used.
    """
    if num_samples < 1 or repeats < 1:
        raise UserError(f"{num_samples} samples, {repeats} times: there is nothing to show.")
    records = get_detection_dataset_dicts(
        cfg.DATASETS.TRAIN, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    )
    metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
    mapper = _mapper(cfg, records)
    seed_all_rng(seed)
    drawn = np.random.default_rng(seed).permutation(len(records))[:num_samples]
    output_dir.mkdir(parents=True, exist_ok=True)
    figures = []
    for number, index in enumerate(np.sort(drawn)):
        for variant in range(repeats):
            record = records[index]
            panels = input_panels(mapper(record), metadata, image_format=cfg.INPUT.FORMAT)
            name = f"{number:03d}_{Path(record['file_name']).stem}_{variant}.png"
            _write_png(output_dir / name, side_by_side(list(panels.values())))
            figures.append(_figure(name, list(panels)))
    title = ", ".join(cfg.DATASETS.TRAIN)
    summary = f"{len(drawn)} of {len(records)} records, as the network sees them in training."
    page = _PAGE.format(title=escape(title), summary=summary, figures="\n".join(figures))
    path = output_dir / "index.html"
    write_atomically(path, page.encode())
    return path


def _mapper(
    cfg: CfgNode, records: list[dict[str, Any]]
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    mapper = train_mapper_class(cfg)
    if mapper is not None:
        return build_train_mapper(cfg, mapper, records)
    theirs: Callable[..., Any] = DatasetMapper  # configurable: it takes a config, too
    return theirs(cfg, is_train=True)


def _write_png(path: Path, picture: np.ndarray) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=3)
    write_atomically(path, buffer.getvalue())


def _figure(name: str, panels: list[str]) -> str:
    caption = f"{name}: {' | '.join(panels)}"
    picture = f'<img src="{escape(name)}" alt="">'
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"
