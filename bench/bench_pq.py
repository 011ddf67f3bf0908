#!/usr/bin/env python
"""Times PQ beside panopticapi: of a model's outputs during evaluation, and of folders of PNGs.

The evaluators read the truth's PNGs and get the predictions as maps. Detectron2's starts as many
processes as it thinks there are cores; ours is one, which reads the next images' truth in threads:
beside the model in an evaluation, beside the comparison here, so --processor-time tells what is
saved on one core.

python bench/bench_pq.py --reference-python PATH
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _compare import Case, Tolerance, build_parser, compare
from PIL import Image

CATEGORIES: list[dict[str, Any]] = [
    {"id": c, "name": str(c), "isthing": int(c <= 80)} for c in range(1, 134)
]
NAME = "bench_pq"


def scene(height: int, width: int, number: int, shift: int) -> np.ndarray:
    """(H, W) int32 ids of 25 overlapping blobs with wavy contours, moved by ``shift`` pixels."""
    rng = np.random.default_rng(number)
    ids = np.zeros((height, width), dtype=np.int32)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = 0.1 * np.sin(y / 9) + 0.1 * np.sin(x / 7)
    for place in range(1, 26):
        center = rng.uniform(0, (height, width))
        radii = rng.uniform(0.05, 0.3, 2) * (height, width)
        distance = ((y - center[0]) / radii[0]) ** 2 + ((x - center[1] - shift) / radii[1]) ** 2
        ids[distance + waves < 1] = place * 1009
    return ids


def segments(ids: np.ndarray) -> list[dict[str, Any]]:
    """The segments of a map, in the format of the JSON."""
    present, areas = np.unique(ids[ids > 0], return_counts=True)
    return [
        {"id": i, "category_id": 1 + i % 133, "iscrowd": 0, "area": area}
        for i, area in zip(present.tolist(), areas.tolist(), strict=True)
    ]


def write_side(folder: Path, maps: Sequence[np.ndarray]) -> Path:
    """The JSON of a folder of PNGs."""
    (folder / "masks").mkdir(parents=True)
    annotations: list[dict[str, Any]] = []
    for number, ids in enumerate(maps):
        rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
        Image.fromarray(rgb).save(folder / "masks" / f"{number}.png")
        entry = {"image_id": number, "file_name": f"{number}.png", "segments_info": segments(ids)}
        annotations.append(entry)
    path = folder / "panoptic.json"
    content = {"images": [], "annotations": annotations, "categories": CATEGORIES}
    path.write_text(json.dumps(content))
    return path


def maps(height: int, width: int, images: int, shift: int) -> list[np.ndarray]:
    """The scenes of one side."""
    return [scene(height, width, number, shift) for number in range(images)]


def their_files(height: int, width: int, images: int) -> Callable[[], Any]:
    """Panopticapi on two folders, in one process: its pool would never be closed."""
    from panopticapi.evaluation import pq_compute_single_core

    folder, truth, predicted = _sides(height, width, images)
    contents = [json.loads(path.read_text()) for path in (truth, predicted)]
    pairs = list(zip(*(content["annotations"] for content in contents), strict=True))
    categories = {c["id"]: c for c in CATEGORIES}
    folders = [str(path.parent / "masks") for path in (truth, predicted)]

    def run() -> dict[str, Any]:
        assert folder
        with contextlib.redirect_stdout(io.StringIO()):
            stat = pq_compute_single_core(0, pairs, *folders, categories)
        return {"PQ": np.array([100 * stat.pq_average(categories, isthing=None)[0]["pq"]])}

    return run


def our_files(height: int, width: int, images: int) -> Callable[[], Any]:
    """Ours on two folders."""
    from seg_projects.evaluation.panoptic_files import evaluate_panoptic_files

    folder, truth, predicted = _sides(height, width, images)

    def run() -> dict[str, Any]:
        assert folder
        sides = (truth, truth.parent / "masks", predicted, predicted.parent / "masks")
        return {"PQ": np.array([evaluate_panoptic_files(*sides).summary["PQ"]])}

    return run


def _sides(height: int, width: int, images: int) -> tuple[Any, Path, Path]:
    """A temporary folder, which lives as long as the object, and the JSONs of both sides."""
    folder = tempfile.TemporaryDirectory()
    truth = write_side(Path(folder.name, "truth"), maps(height, width, images, 0))
    predicted = write_side(Path(folder.name, "predicted"), maps(height, width, images, 12))
    return folder, truth, predicted


def their_evaluator(height: int, width: int, images: int, workers: int) -> Callable[[], Any]:
    """Detectron2's evaluator, whose panopticapi sees ``workers`` cores."""
    from detectron2.evaluation import COCOPanopticEvaluator

    multiprocessing.cpu_count = lambda: workers
    folder, inputs, outputs = _registered(height, width, images)
    return _evaluation(lambda: COCOPanopticEvaluator(NAME, folder.name), inputs, outputs)


def our_evaluator(height: int, width: int, images: int, workers: int) -> Callable[[], Any]:
    """Ours, in one process whatever ``workers`` says."""
    from seg_projects.evaluation.ground_truth import PanopticGroundTruth
    from seg_projects.evaluation.panoptic import PanopticEvaluator

    assert workers > 0
    folder, inputs, outputs = _registered(height, width, images)
    return _evaluation(
        lambda: PanopticEvaluator(PanopticGroundTruth(NAME), folder.name), inputs, outputs
    )


def _evaluation(
    build: Callable[[], Any], inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]
) -> Callable[[], Any]:
    def run() -> dict[str, Any]:
        with contextlib.redirect_stdout(io.StringIO()):
            evaluator = build()
            evaluator.reset()
            for input_, output in zip(inputs, outputs, strict=True):
                evaluator.process([input_], [output])
            figures = evaluator.evaluate()["panoptic_seg"]
        return {key: np.array([figures[key]]) for key in ("PQ", "SQ", "RQ", "PQ_th", "PQ_st")}

    return run


def _registered(
    height: int, width: int, images: int
) -> tuple[Any, list[dict[str, Any]], list[dict[str, Any]]]:
    """The truth registered as NAME; the model's inputs and outputs."""
    import torch

    from detectron2.data import MetadataCatalog

    folder = tempfile.TemporaryDirectory()
    path = write_side(Path(folder.name, "truth"), maps(height, width, images, 0))
    things = {c["id"]: c["id"] - 1 for c in CATEGORIES if c["isthing"]}
    stuff = {c["id"]: c["id"] - 80 for c in CATEGORIES if not c["isthing"]}
    names = {i: str(i) for i in range(134)}
    MetadataCatalog.get(NAME).set(
        panoptic_json=str(path),
        panoptic_root=str(path.parent / "masks"),
        thing_dataset_id_to_contiguous_id=things,
        stuff_dataset_id_to_contiguous_id=stuff,
        thing_classes=names,
        stuff_classes=names,
        thing_colors=dict.fromkeys(names, (0, 0, 0)),
        stuff_colors=dict.fromkeys(names, (0, 0, 0)),
    )
    inputs, outputs = [], []
    for number, ids in enumerate(maps(height, width, images, 12)):
        inputs.append({"image_id": number, "file_name": f"{number}.jpg"})
        found = []
        for segment in segments(ids):
            category = segment["category_id"]
            thing = category in things
            label = things[category] if thing else stuff[category]
            found.append({"id": segment["id"], "isthing": thing, "category_id": label})
        outputs.append({"panoptic_seg": (torch.from_numpy(ids), found)})
    return folder, inputs, outputs


def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, times, prints."""
    args = build_parser(__doc__).parse_args(argv)
    sizes = [(48, 64, 2)] if args.quick else [(480, 640, 24), (1024, 2048, 6)]
    equal = Tolerance(relative=1e-12)
    cases = []
    for height, width, images in sizes:
        settings: dict[str, Any] = {"height": height, "width": width, "images": images}
        name = f"{images} of {width}x{height}"
        cases += [
            Case(
                name=f"PQ during evaluation, {name}, {workers} worker(s)",
                function="our_evaluator",
                reference_function="their_evaluator",
                settings={**settings, "workers": workers},
                tolerance=equal,
            )
            for workers in (1, 2)
        ]
        files = Case(
            name=f"PQ of files, {name}",
            function="our_files",
            reference_function="their_files",
            settings=settings,
            tolerance=equal,
        )
        cases.append(files)
    compare(__file__, cases, args)


if __name__ == "__main__":
    main()
