#!/usr/bin/env python
"""Writes report.html for a trained run: figures, curves, ground truth beside prediction.

python tools/report.py --config-file output/quickstart/config.yaml
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

try:
    from seg_projects.command_line import config_parser, read_config, run_tool
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing}")


def build_parser() -> argparse.ArgumentParser:
    """The arguments; needs no torch, so that ``--help`` is immediate."""
    parser = config_parser(__doc__, config="of the trained model")
    parser.add_argument("--samples", type=int, default=12, help="how many images are shown")
    parser.add_argument(
        "--worst", type=int, default=3, help="how many of the worst images per metric are shown"
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE")
    return parser


def run(args: argparse.Namespace) -> int:
    """Writes the page; returns the exit status."""
    from seg_projects.engine.predictor import find_weights
    from seg_projects.engine.run_report import report_run

    cfg = read_config(args)
    cfg.MODEL.WEIGHTS = find_weights(cfg, args.opts)
    print(f"Report: {report_run(cfg, num_samples=args.samples, num_worst=args.worst)}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parses ``argv`` and writes the page; returns the exit status, 2 for a user's mistake."""
    args = build_parser().parse_args(argv)
    return run_tool(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
