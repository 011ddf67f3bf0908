from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from detectron2.engine import launch

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch has no distributed package")

# The functions that run in new processes stand in a file of their own, which those can import.
WORKERS = """
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import SimpleTrainer, create_ddp_model, launch
from detectron2.utils import comm


class Loss(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1)

    def forward(self, x):
        return {"loss": self.linear(x).sum()}


def train(folder):
    rank = comm.get_rank()
    torch.manual_seed(rank)
    model = create_ddp_model(Loss(), broadcast_buffers=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    trainer = SimpleTrainer(model, [torch.full((1, 2), 1.0 + rank)], optimizer)
    before = model.module.linear.weight.detach().clone()
    trainer.train(0, 1)
    weight = model.module.linear.weight.detach()
    torch.save(
        {
            "weight": weight,
            "step": before - weight,
            "loss": trainer.storage.latest().get("total_loss"),
        },
        os.path.join(folder, f"rank{rank}.pth"),
    )
    # Only the main process can see the file.
    path = os.path.join(folder, "shared.pth")
    if rank == 0:
        torch.save({"weight": torch.full((1, 2), 9.0)}, path)
    comm.synchronize()
    alone = nn.Linear(2, 1)
    DetectionCheckpointer(alone).load(path if rank == 0 else path + ".elsewhere")
    Path(folder, f"loaded{rank}").write_text(str(alone.weight.tolist()))


def report(folder):
    ranks = (comm.get_rank(), comm.get_local_rank(), comm.get_world_size(), comm.get_local_size())
    Path(folder, f"report{comm.get_rank()}").write_text(str((ranks, comm.all_gather(ranks[0]))))
"""


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "launch_workers.py").write_text(WORKERS)
    for variable in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # Also on a machine with fewer than two GPUs.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    paths = [str(tmp_path), *(p for p in sys.path if p)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    return tmp_path


def program(function: str, folder: Path) -> list[str]:
    code = "import launch_workers as w; "
    code += f"w.launch(w.{function}, 2, dist_url='auto', args=({str(folder)!r},))"
    return [sys.executable, "-c", code]


def test_two_spawned_processes_train_one_model(workers: Path) -> None:
    subprocess.run(program("train", workers), check=True, timeout=300)
    first, second = (torch.load(workers / f"rank{rank}.pth", weights_only=True) for rank in (0, 1))
    # Both began with rank 0's weights and took the mean of the gradients (1, 1) and (2, 2).
    assert torch.equal(first["weight"], second["weight"])
    assert torch.allclose(first["step"], torch.full((1, 2), 1.5))
    assert first["loss"] is not None
    assert second["loss"] is None
    assert [(workers / f"loaded{rank}").read_text() for rank in (0, 1)] == ["[[9.0, 9.0]]"] * 2


def test_processes_of_torchrun_are_joined(workers: Path) -> None:
    runs = []
    for rank in ("0", "1"):
        variables = {
            **os.environ,
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(20000 + os.getpid() % 20000),
        }
        runs.append(subprocess.Popen(program("report", workers), env=variables))
    assert [process.wait(300) for process in runs] == [0, 0]
    # Two processes, not two in each of them.
    assert (workers / "report0").read_text() == "((0, 0, 2, 2), [0, 1])"
    assert (workers / "report1").read_text() == "((1, 1, 2, 2), [0, 1])"


def test_one_process_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    seen: list[int] = []
    launch(seen.append, 1, args=(os.getpid(),))
    assert seen == [os.getpid()]


def test_a_process_group_is_used_as_it_is(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        seen: list[nn.Module | int] = []
        launch(seen.append, 8, args=(1,))
        assert seen == [1]
        assert dist.is_initialized()
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize(
    ("machines", "url", "message"),
    [(2, "auto", "num_machines=2"), (1, None, "needs dist_url")],
)
def test_the_meeting_point_must_be_known(
    machines: int, url: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ValueError, match=message):
        launch(print, 2, machines, dist_url=url)
