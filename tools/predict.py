#!/usr/bin/env python
"""Segments images with a trained model; writes overlays to look at, and PNGs or a COCO JSON.

python tools/predict.py --config-file output/quickstart/config.yaml --input FILE_OR_FOLDER ... \
    --output output/predictions

Folders are searched at any depth; what is written has the names of their images.
The weights are those of --opts MODEL.WEIGHTS FILE, else the last checkpoint in the config's
OUTPUT_DIR, else the config's MODEL.WEIGHTS.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from seg_projects.command_line import config_parser, read_config, run_tool
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing}")


# Unreadable images that the last line names; warnings name all.
SOME = 3


def build_parser() -> argparse.ArgumentParser:
    """The arguments; needs no torch, so that ``--help`` is immediate."""
    parser = config_parser(__doc__, config="of the trained model")
    parser.add_argument(
        "--input",
        required=True,
        nargs="+",
        metavar="PATH",
        help="images, or folders with images at any depth",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE")
    return parser


def run(args: argparse.Namespace) -> int:
    """Segments the images; returns the exit status, 1 where one could not be read."""
    from detectron2.utils.logger import setup_logger
    from seg_projects.engine.input_images import check_output, find_images
    from seg_projects.engine.prediction import build_prediction
    from seg_projects.engine.prediction_files import write_predictions
    from seg_projects.engine.predictor import find_weights

    setup_logger(name="seg_projects")
    check_output(args.output, args.input)
    images = find_images(args.input, leave_out=args.output)
    cfg = read_config(args)
    cfg.MODEL.WEIGHTS = find_weights(cfg, args.opts)
    predict, files = build_prediction(cfg, args.output)
    unreadable = write_predictions(images, predict, files)
    if len(unreadable) < len(images):
        print(f"{len(images) - len(unreadable)} images in {args.output}: {files.finish()}")
    if unreadable:
        named = ", ".join(map(str, unreadable[:SOME])) + (", ..." if unreadable[SOME:] else "")
        sys.stderr.write(
            f"error: {len(unreadable)} of {len(images)} images could not be read: {named}\n"
        )
    return int(bool(unreadable))


def main(argv: Sequence[str] | None = None) -> int:
    """Parses ``argv`` and segments; returns the exit status, 2 for a user's mistake."""
    args = build_parser().parse_args(argv)
    return run_tool(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
