#!/usr/bin/env python
"""Writes report.html for a trained run: figures, curves, ground truth beside prediction.

python tools/report.py --config-file output/quickstart/config.yaml
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Parses ``argv`` and writes the page; returns the exit status, 2 for a user's mistake."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE", help="of the trained model")
    parser.add_argument("--samples", type=int, default=12, help="how many images are shown")
    parser.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="import MODULE first, which registers heads or data sets of yours; repeatable",
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE")
    args = parser.parse_args(argv)
    from seg_projects.engine import import_modules, load_config
    from seg_projects.engine.predictor import find_weights
    from seg_projects.engine.run_report import report_run
    from seg_projects.errors import UserError

    try:
        import_modules(args.modules)
        cfg = load_config(args.config_file, args.opts)
        cfg.MODEL.WEIGHTS = find_weights(cfg, args.opts)
        print(f"Report: {report_run(cfg, num_samples=args.samples)}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
