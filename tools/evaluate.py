#!/usr/bin/env python
r"""Scores predictions that are files: no model, no config.

python tools/evaluate.py panoptic --truth gt.json --truth-masks gt/ \
    --predictions pred.json --prediction-masks pred/ --fail-under PQ=40
python tools/evaluate.py instances --truth instances.json --predictions results.json
python tools/evaluate.py semantic --truth labels/ --predictions predicted/ --classes road,sky \
    --metric boundary_f1 --metric surface_distance --spacing 0.5 0.5
python tools/evaluate.py cityscapes --truth gtFine/val --predictions results/ [--instances]
python tools/evaluate.py runs output/first output/second
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seg_projects.evaluation.scores import Scores


def build_parser() -> argparse.ArgumentParser:
    """One sub-command per kind of files."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--truth", type=Path, required=True, metavar="PATH")
    common.add_argument("--predictions", type=Path, required=True, metavar="PATH")
    common.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here as JSON")
    common.add_argument("--csv", type=Path, metavar="FILE", help="write the numbers here as CSV")
    common.add_argument(
        "--fail-under",
        action="append",
        default=[],
        metavar="METRIC=NUMBER",
        help="exit status 1 where METRIC is below NUMBER or undefined; repeatable",
    )
    drawn = argparse.ArgumentParser(add_help=False)
    drawn.add_argument(
        "--bootstrap",
        type=_count,
        default=0,
        metavar="SAMPLES",
        help="95 %% intervals (PQ_low, PQ_high) from so many data sets drawn with replacement",
    )
    drawn.add_argument(
        "--compare",
        type=Path,
        metavar="PATH",
        help="other predictions, of the kind of --predictions: the difference of PQ, AP or mIoU, "
        "its interval and p-value",
    )
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    panoptic = kinds.add_parser(
        "panoptic", parents=[common, drawn], help="COCO panoptic JSON and PNGs"
    )
    panoptic.add_argument("--truth-masks", type=Path, required=True, metavar="FOLDER")
    panoptic.add_argument("--prediction-masks", type=Path, required=True, metavar="FOLDER")
    panoptic.add_argument("--compare-masks", type=Path, metavar="FOLDER")
    instances = kinds.add_parser("instances", parents=[common, drawn], help="COCO result JSON")
    for kind in (panoptic, instances):
        kind.add_argument(
            "--boundary",
            type=float,
            default=0.0,
            metavar="SHARE",
            help="boundary PQ or AP too; a boundary's reach by the image's diagonal, usually 0.02",
        )
    instances.add_argument("--task", choices=("segm", "bbox"), help="default: what the file holds")
    instances.add_argument(
        "--max-detections", type=int, default=100, help="that count per image and category"
    )
    semantic = kinds.add_parser(
        "semantic", parents=[common, drawn], help="two folders of label maps"
    )
    semantic.add_argument(
        "--classes", required=True, metavar="NAME,NAME", help="names of the labels 0, 1, ..."
    )
    semantic.add_argument("--ignore-label", type=int, default=255, help="truth that is left out")
    semantic.add_argument(
        "--metric",
        action="append",
        default=[],
        dest="metrics",
        metavar="NAME",
        help="boundary_f1, boundary_iou or surface_distance, beside those of pixels; repeatable",
    )
    semantic.add_argument(
        "--spacing",
        type=float,
        nargs=2,
        default=(1.0, 1.0),
        metavar=("HEIGHT", "WIDTH"),
        help="of a pixel, the unit of surface distances (default: pixels)",
    )
    cityscapes = kinds.add_parser(
        "cityscapes", parents=[common], help="gtFine against label maps, or text files and masks"
    )
    cityscapes.add_argument("--instances", action="store_true", help="AP of TXT files and masks")
    cityscapes.add_argument(
        "--train-ids", action="store_true", help="the label maps hold train ids, not label ids"
    )
    runs = kinds.add_parser("runs", help="compare two OUTPUT_DIR of tools/train_net.py")
    runs.add_argument("first", type=Path)
    runs.add_argument("second", type=Path)
    runs.add_argument("--samples", type=_count, default=1000, help="drawn data sets (1000)")
    return parser


def _count(text: str) -> int:
    """A number of drawn data sets."""
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of data sets, 0 or more")
    return number


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, 1 where ``--fail-under`` is not met, 2 for a user's mistake."""
    args = build_parser().parse_args(argv)
    from seg_projects.command_line import run_tool

    return run_tool(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Scores, writes and prints; returns the exit status."""
    from seg_projects.evaluation import scores as results

    if args.kind == "runs":
        print(_compare_runs(args.first, args.second, args.samples))
        return 0
    for option, path in (("--json", args.json), ("--csv", args.csv)):
        results.check_output(option, path)
    thresholds = [results.parse_threshold(text) for text in args.fail_under]
    scores = _evaluate(args)
    unmet = results.unmet_thresholds(scores, thresholds)
    if args.json:
        results.write_scores_json(args.json, scores)
    if args.csv:
        results.write_scores_csv(args.csv, scores)
    print(results.format_scores(scores))
    for sentence in unmet:
        print(f"failed: {sentence}", file=sys.stderr)
    return 1 if unmet else 0


def _compare_runs(first: Path, second: Path, samples: int) -> str:
    """A line per data set and metric; the interval is that of second minus first."""
    from tabulate import tabulate

    from seg_projects.evaluation.image_states import compare_runs

    rows = [
        (*key, c.first, c.second, c.second - c.first, *c.test.difference, f"{c.test.p_value:.3g}")
        for key, c in compare_runs(first, second, samples).items()
    ]
    columns = ("data set", "metric", "first", "second", "difference", "low", "high", "p")
    return tabulate(rows, headers=columns, tablefmt="pipe", floatfmt=".3f")


def _evaluate(args: argparse.Namespace) -> Scores:
    if args.kind == "panoptic":
        from seg_projects.errors import UserError
        from seg_projects.evaluation.panoptic_files import evaluate_panoptic_files

        if (args.compare is None) != (args.compare_masks is None):
            raise UserError("--compare and --compare-masks belong together: a JSON and its PNGs.")
        return evaluate_panoptic_files(
            args.truth,
            args.truth_masks,
            args.predictions,
            args.prediction_masks,
            bootstrap=args.bootstrap,
            boundary_share=args.boundary,
            other=args.compare and (args.compare, args.compare_masks),
        )
    if args.kind == "instances":
        from seg_projects.evaluation.instance_files import evaluate_instance_files

        return evaluate_instance_files(
            args.truth,
            args.predictions,
            task=args.task,
            max_detections=args.max_detections,
            boundary_share=args.boundary,
            bootstrap=args.bootstrap,
            other=args.compare,
        )
    if args.kind == "cityscapes":
        return _evaluate_cityscapes(args)
    from seg_projects.evaluation.label_map_files import evaluate_label_maps

    names = args.classes.split(",")
    return evaluate_label_maps(
        args.truth,
        args.predictions,
        names,
        ignore_label=args.ignore_label,
        bootstrap=args.bootstrap,
        metrics=args.metrics,
        spacing=tuple(args.spacing),
        other=args.compare,
    )


def _evaluate_cityscapes(args: argparse.Namespace) -> Scores:
    from seg_projects.evaluation import cityscapes_files

    if args.instances:
        return cityscapes_files.evaluate_cityscapes_instances(args.truth, args.predictions)
    return cityscapes_files.evaluate_cityscapes_labels(
        args.truth, args.predictions, train_ids=args.train_ids
    )


if __name__ == "__main__":
    sys.exit(main())
