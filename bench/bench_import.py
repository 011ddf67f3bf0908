#!/usr/bin/env python
"""Start of a process: the import of what training needs, and ``tools/train_net.py --help``.

python bench/bench_import.py --reference-python PATH --reference-train-net FILE
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from _compare import Timed, build_parser, clean_environment, measure, write_results

TRAIN_NET = Path(__file__).resolve().parents[1] / "tools" / "train_net.py"
TORCH = "import torch"
TRAINING = """
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from detectron2.engine import DefaultTrainer, default_argument_parser, default_setup, hooks, launch
from detectron2.evaluation import COCOEvaluator, COCOPanopticEvaluator, SemSegEvaluator
from detectron2.modeling import build_model
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, times, prints."""
    parser = build_parser(__doc__)
    parser.add_argument(
        "--reference-train-net", metavar="FILE", help="Detectron2's own tools/train_net.py"
    )
    args = parser.parse_args(argv)
    reference, reference_tool = args.reference_python, args.reference_train_net
    results = []
    with tempfile.TemporaryDirectory() as folder:

        def start(python: str | None, *arguments: str) -> Timed | None:
            if python is None:
                return None
            return lambda: _seconds([python, *arguments], folder, args.threads)

        def add(name: str, ours: Sequence[str], theirs: Sequence[str] | None) -> None:
            own = start(sys.executable, *ours)
            assert own is not None
            own()  # reads the files from disk and writes the bytecode
            other = start(reference, *theirs) if theirs is not None else None
            if other is not None:
                other()
            results.append(measure(name, own, other, args))
            print(results[-1].line(), flush=True)

        if not args.quick:
            add("import torch alone", ["-c", TORCH], ["-c", TORCH])
            add("import torch and what training needs", ["-c", TRAINING], ["-c", TRAINING])
        tool = [reference_tool, "--help"] if reference_tool else None
        add("train_net.py --help", [str(TRAIN_NET), "--help"], tool)
    write_results(results, args)


def _seconds(command: Sequence[str], folder: str, threads: int) -> float:
    environment = clean_environment(threads)
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
