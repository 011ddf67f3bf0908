"""One of two processes that train tiny models together: python two_processes.py RANK FOLDER ...

Prints a line per config: its name and whether both have the same parameters afterwards, or the
error of a user.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from tiny_configs import shrink, use_generated_data
from tiny_runs import REPOSITORY

from detectron2.utils import comm
from seg_projects.engine import SegTrainer, load_config, prepare
from seg_projects.errors import UserError


def train(config: str, root: Path, overrides: list[object]) -> bool:
    """Whether the parameters of all processes agree after two iterations, and have changed."""
    cfg = load_config(REPOSITORY / "configs" / f"{config}.yaml")
    shrink(cfg)
    folder = root / f"{config.replace('/', '_')}_{comm.get_rank()}"
    use_generated_data(cfg, folder)
    cfg.merge_from_list(
        [
            *("SOLVER.MAX_ITER", 2, "SOLVER.STEPS", (), "TEST.EVAL_PERIOD", 0),
            *("DATASETS.TEST", (), "OUTPUT_DIR", str(folder / "run"), *overrides),
        ]
    )
    prepare(cfg, argparse.Namespace(config_file="", eval_only=False, resume=False))
    logging.disable(logging.ERROR)
    trainer = SegTrainer(cfg)
    before = _sums(trainer.model)
    trainer.train()
    after = _sums(trainer.model)
    others = [torch.zeros_like(after) for _ in range(2)]
    dist.all_gather(others, after)
    return torch.equal(others[0], others[1]) and not torch.equal(before, after)


def _sums(model: torch.nn.Module) -> torch.Tensor:
    return torch.stack([p.detach().double().sum() for p in model.parameters()])


def main(rank: int, root: Path, configs: list[str]) -> None:
    """Trains each config in turn; NAME=KEY=VALUE changes a key of it."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{root}/meet", rank=rank, world_size=2)
    comm.create_local_process_group(2)
    for text in configs:
        config, *overrides = text.split("=")
        try:
            told: object = train(config, root, list(overrides))
        except UserError as error:
            told = error
        if rank == 0:
            sys.stdout.write(f"{config} {told}\n")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
