"""Command line, output folder, log and seeds at the beginning of a run."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from typing import Any

import torch

from detectron2.config import CfgNode, LazyConfig
from detectron2.utils import comm
from detectron2.utils.atomic import atomic_write
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import setup_logger

_EPILOG = """
Examples:

Run on one machine:
    $ {program} --num-gpus 8 --config-file cfg.yaml

Change some config options:
    $ {program} --config-file cfg.yaml MODEL.WEIGHTS /path/to/weight.pth SOLVER.BASE_LR 0.001

Run on several machines:
    (machine 0)$ {program} --machine-rank 0 --num-machines 2 --dist-url <URL> [other flags]
    (machine 1)$ {program} --machine-rank 1 --num-machines 2 --dist-url <URL> [other flags]
"""


def default_argument_parser(epilog: str | None = None) -> argparse.ArgumentParser:
    """A parser with the arguments that the tools of Detectron2 share.

    Args:
        epilog: replaces the examples at the end of the help.
    """
    parser = argparse.ArgumentParser(
        epilog=epilog or _EPILOG.format(program=sys.argv[0]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="path to config file")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the last checkpoint in the output folder, if there is one",
    )
    parser.add_argument("--eval-only", action="store_true", help="perform evaluation only")
    parser.add_argument("--num-gpus", type=int, default=1, help="processes *per machine*")
    parser.add_argument("--num-machines", type=int, default=1, help="total number of machines")
    parser.add_argument(
        "--machine-rank", type=int, default=0, help="the rank of this machine (unique per machine)"
    )
    # A port of the user's own, so that two users of one machine do not meet by accident.
    user = os.getuid() if hasattr(os, "getuid") else 1
    port = 2**15 + 2**14 + hash(user) % 2**14
    parser.add_argument(
        "--dist-url",
        default=f"tcp://127.0.0.1:{port}",
        help="where the processes meet: a URL of torch.distributed, or 'auto' on one machine",
    )
    parser.add_argument(
        "opts",
        help="config options at the end of the command: 'PATH.KEY VALUE' pairs for a YAML config, "
        "'path.key=value' for a Python config",
        default=None,
        nargs=argparse.REMAINDER,
    )
    return parser


def default_setup(cfg: CfgNode | Any, args: argparse.Namespace) -> None:
    """Prepares a run: output folder, logs, a record of environment and config, seeds.

    Args:
        cfg: a ``CfgNode``, or a lazy config with the node ``train``.
        args: from ``default_argument_parser``.
    """
    output_dir = _key(cfg, "OUTPUT_DIR", "output_dir", "train.output_dir")
    rank = comm.get_rank()
    if comm.is_main_process() and output_dir:
        _require_writable(output_dir)

    setup_logger(output_dir, distributed_rank=rank, name="fvcore")
    logger = setup_logger(output_dir, distributed_rank=rank)
    logger.info("Rank of current process: %d. World size: %d", rank, comm.get_world_size())
    logger.info("Environment info:\n%s", collect_env_info())
    logger.info("Command line arguments: %s", args)
    config_file = getattr(args, "config_file", "")
    if config_file:
        with PathManager.open(config_file, "r") as f:
            logger.info("Contents of args.config_file=%s:\n%s", config_file, f.read())
    if comm.is_main_process() and output_dir:
        path = os.path.join(output_dir, "config.yaml")
        _write_config(cfg, path, logger)
        logger.info("Full config saved to %s", path)

    # Without a seed every process draws its own.
    seed = _key(cfg, "SEED", "train.seed", default=-1)
    seed_all_rng(None if seed < 0 else seed + rank)
    # Evaluation sees images of many sizes, for each of which cuDNN would search anew.
    if not getattr(args, "eval_only", False):
        torch.backends.cudnn.benchmark = _key(
            cfg, "CUDNN_BENCHMARK", "train.cudnn_benchmark", default=False
        )


def _key(cfg: Any, *names: str, default: Any = None) -> Any:
    """The value of the first dotted name that ``cfg`` has."""
    for name in names:
        node = cfg
        for part in name.split("."):
            node = node[part] if node is not None and part in node else None
        if node is not None:
            return node
    return default


def _require_writable(output_dir: str) -> None:
    try:
        PathManager.mkdirs(output_dir)
        with tempfile.TemporaryFile(dir=PathManager.get_local_path(output_dir)):
            pass
    except OSError as error:
        raise type(error)(
            error.errno,
            f"OUTPUT_DIR={output_dir!r} cannot be written ({error.strerror}); "
            "set OUTPUT_DIR to a folder that can",
        ) from error


def _write_config(cfg: Any, path: str, logger: logging.Logger) -> None:
    """Writes ``cfg`` in full; whoever reads ``path`` sees all of it or its old content."""
    if not isinstance(cfg, CfgNode):
        LazyConfig.save(cfg, path)
        return
    text = cfg.dump()
    logger.info("Running with full config:\n%s", text)
    with atomic_write(path, "w") as file:
        file.write(text)
