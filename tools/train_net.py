#!/usr/bin/env python
"""Trains and evaluates the model that a config describes.

python tools/train_net.py --config-file configs/quickstart/panoptic_fpn_shapes.yaml
python tools/train_net.py --config-file FILE --eval-only MODEL.WEIGHTS output/model_final.pth
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    from seg_projects.command_line import config_parser, read_config, run_tool
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing}")


def build_parser() -> argparse.ArgumentParser:
    """Detectron2's arguments, without importing it: ``--help`` is immediate."""
    parser = config_parser(__doc__, config="the YAML config")
    parser.add_argument(
        "--resume", action="store_true", help="go on from OUTPUT_DIR's last checkpoint"
    )
    parser.add_argument(
        "--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS, no training"
    )
    parser.add_argument(
        "--num-gpus", type=int, default=1, help="processes (one per GPU) per machine"
    )
    parser.add_argument("--num-machines", type=int, default=1)
    parser.add_argument("--machine-rank", type=int, default=0, help="0 to num-machines - 1")
    # One port per user, so that two people on one machine do not meet.
    port = 2**15 + 2**14 + hash(os.getuid() if hasattr(os, "getuid") else 1) % 2**14
    parser.add_argument("--dist-url", default=f"tcp://127.0.0.1:{port}", metavar="URL")
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides"
    )
    return parser


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    """Trains, or evaluates with ``--eval-only``, in this process; returns the metrics."""
    from detectron2.checkpoint import DetectionCheckpointer
    from seg_projects.engine import SegTrainer, load_weights, prepare
    from seg_projects.engine.model_checks import augments_detections
    from seg_projects.engine.resumption import explaining_unusable

    cfg = read_config(args)
    prepare(cfg, args)
    if args.eval_only:
        model = SegTrainer.build_model(cfg)
        checkpointer = DetectionCheckpointer(model, save_dir=cfg.OUTPUT_DIR)
        if args.resume and checkpointer.has_checkpoint():
            with explaining_unusable(Path(checkpointer.get_checkpoint_file())):
                checkpointer.resume_or_load("", resume=True)
        else:
            load_weights(cfg, model)
        results = SegTrainer.test(cfg, model)
        if augments_detections(cfg):
            results |= SegTrainer.test_augmented(cfg, model)
        return results
    trainer = SegTrainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


def main(argv: Sequence[str] | None = None) -> int:
    """Parses ``argv``, trains or evaluates; returns the exit status, 2 for a user's mistake."""
    args = build_parser().parse_args(argv)

    def work() -> int:
        from detectron2.engine import launch
        from seg_projects.engine.setup import check_gpus

        check_gpus(args.num_gpus, machines=args.num_machines, rank=args.machine_rank)
        launch(
            run,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(args,),
        )
        return 0

    return run_tool(work)


if __name__ == "__main__":
    sys.exit(main())
