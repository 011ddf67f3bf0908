from __future__ import annotations

import argparse
import errno
import logging
import os
import random
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from detectron2.config import CfgNode, get_cfg
from detectron2.engine import default_argument_parser, default_setup


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Gives back the loggers, and the flag of cuDNN, as they were."""
    from detectron2.utils import logger

    loggers = [logging.getLogger(name) for name in ("detectron2", "fvcore")]
    before = [(lo.handlers[:], lo.level, lo.propagate) for lo in loggers]
    benchmark = torch.backends.cudnn.benchmark
    logger.setup_logger.cache_clear()
    yield
    logger.setup_logger.cache_clear()
    torch.backends.cudnn.benchmark = benchmark
    for lo, (handlers, level, propagate) in zip(loggers, before, strict=True):
        lo.handlers[:], lo.propagate = handlers, propagate
        lo.setLevel(level)


def config(folder: Path, **options: object) -> CfgNode:
    cfg = get_cfg()
    cfg.OUTPUT_DIR = str(folder)
    for key, value in options.items():
        cfg[key] = value
    return cfg


def arguments(*argv: str) -> argparse.Namespace:
    return default_argument_parser().parse_args(argv)


def test_arguments_have_upstreams_defaults() -> None:
    args = vars(arguments())
    url = args.pop("dist_url")
    assert args == {
        "config_file": "",
        "resume": False,
        "eval_only": False,
        "num_gpus": 1,
        "num_machines": 1,
        "machine_rank": 0,
        "opts": [],
    }
    assert url.startswith("tcp://127.0.0.1:")


def test_options_come_last() -> None:
    args = arguments("--num-gpus", "2", "--resume", "SOLVER.BASE_LR", "0.1")
    assert (args.num_gpus, args.resume, args.opts) == (2, True, ["SOLVER.BASE_LR", "0.1"])


def test_help_shows_examples_or_the_given_text() -> None:
    assert "--machine-rank 1" in default_argument_parser().format_help()
    assert "my words" in default_argument_parser("my words").format_help()


def test_setup_records_config_and_log(tmp_path: Path) -> None:
    source = tmp_path / "source.yaml"
    source.write_text("SEED: 3  # a remark\n")
    cfg = config(tmp_path / "out", SEED=3)
    default_setup(cfg, arguments("--config-file", str(source)))
    out = tmp_path / "out"
    assert sorted(os.listdir(out)) == ["config.yaml", "log.txt"]
    written = get_cfg()
    written.merge_from_file(str(out / "config.yaml"))
    assert written.SEED == 3
    assert str(out) == written.OUTPUT_DIR
    log = (out / "log.txt").read_text()
    assert "# a remark" in log
    assert "Rank of current process: 0. World size: 1" in log
    assert "Environment info" in log


def test_setup_seeds_all_generators(tmp_path: Path) -> None:
    draws = []
    for _ in range(2):
        default_setup(config(tmp_path, SEED=7), arguments())
        draws.append((torch.rand(()).item(), np.random.rand(), random.random()))  # noqa: NPY002 - the seeded generator
    assert draws[0] == draws[1]


@pytest.mark.parametrize(("flags", "expected"), [((), True), (("--eval-only",), False)])
def test_cudnn_searches_in_training_only(
    tmp_path: Path, flags: tuple[str, ...], expected: bool
) -> None:
    torch.backends.cudnn.benchmark = False
    default_setup(config(tmp_path, CUDNN_BENCHMARK=True), arguments(*flags))
    assert torch.backends.cudnn.benchmark is expected


def test_lazy_config_is_saved(tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    cfg = OmegaConf.create({"train": {"output_dir": str(tmp_path / "out"), "seed": 1}})
    default_setup(cfg, arguments())
    saved = OmegaConf.load(tmp_path / "out" / "config.yaml")
    assert saved.train.seed == 1


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(OSError, match=r"OUTPUT_DIR='.*out' cannot be written"):
        default_setup(config(tmp_path / "out"), arguments())


def test_a_read_only_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(**_options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    if os.name != "posix" or os.geteuid() == 0:
        # Root may write everywhere, and Windows has no such mode.
        monkeypatch.setattr("tempfile.TemporaryFile", deny)
    with pytest.raises(PermissionError, match="set OUTPUT_DIR to a folder that can"):
        default_setup(config(tmp_path), arguments())


def test_config_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.yaml").write_text("old")

    def fail(*args: object) -> None:
        raise OSError("power is gone")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="power is gone"):
        default_setup(config(tmp_path), arguments())
    assert (tmp_path / "config.yaml").read_text() == "old"
    assert not list(tmp_path.glob(".*.tmp"))
