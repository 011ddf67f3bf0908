"""A report on the software and hardware that a run has, for bug reports."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections import defaultdict
from importlib.metadata import PackageNotFoundError, version

import torch

__all__ = ["collect_env_info"]

_ENV_MODULE = "DETECTRON2_ENV_MODULE"
# (name in the report, distribution, module)
_PACKAGES = (
    ("Pillow", "Pillow", "PIL"),
    ("torchvision", "torchvision", "torchvision"),
    ("fvcore", "fvcore", "fvcore"),
    ("iopath", "iopath", "iopath"),
    ("pycocotools", "pycocotools", "pycocotools"),
    ("cv2", "opencv-python-headless", "cv2"),
)


def collect_env_info() -> str:
    """A table of versions, devices and variables, and how torch was built."""
    rows = [
        ("sys.platform", sys.platform),
        ("Python", sys.version.replace("\n", "")),
        ("numpy", _distribution_version("numpy", "numpy")),
        ("detectron2", _located("detectron2", _own_version())),
        get_env_module(),
        ("PyTorch", _located("torch", torch.__version__)),
        ("PyTorch debug build", str(torch.version.debug)),
        *_devices(),
        *((name, _distribution_version(dist, module)) for name, dist, module in _PACKAGES),
    ]
    from tabulate import tabulate

    return f"{tabulate(rows, disable_numparse=True)}\n{collect_torch_env()}"


def collect_torch_env() -> str:
    """How torch was built, in its own words."""
    try:
        return torch.__config__.show()
    except RuntimeError as error:
        return f"torch does not say how it was built: {error}"


def get_env_module() -> tuple[str, str]:
    """The variable that names a site's setup module, and its value."""
    return _ENV_MODULE, os.environ.get(_ENV_MODULE, "<not set>")


def detect_compute_compatibility(CUDA_HOME: str | None, so_file: str) -> str:  # noqa: N803
    """The CUDA architectures that a compiled library holds code for, as far as can be told.

    Args:
        CUDA_HOME: Folder of the CUDA toolkit, whose ``cuobjdump`` is asked.
        so_file: The library.
    """
    tool = os.path.join(CUDA_HOME, "bin", "cuobjdump") if CUDA_HOME else ""
    if not os.path.isfile(tool):
        return f"{so_file}; cannot find cuobjdump"
    done = _run([tool, "--list-elf", so_file])
    if done is None:
        return f"{so_file}; cuobjdump cannot read it"
    # Each line ends in a file name such as name.sm_80.cubin.
    codes = {line.rsplit("sm_", 1)[1].split(".")[0] for line in done.splitlines() if "sm_" in line}
    return ", ".join(f"{code[:-1]}.{code[-1]}" for code in sorted(codes, key=_architecture))


def test_nccl_ops() -> None:
    """Sends a tensor through NCCL in one process per GPU, and reports how that went."""
    count = torch.cuda.device_count()
    if not torch.distributed.is_nccl_available() or count == 0:
        return
    sys.stdout.write("Testing NCCL connectivity ... this should not hang.\n")
    address = f"tcp://127.0.0.1:{_free_port()}"
    torch.multiprocessing.spawn(_reduce_once, nprocs=count, args=(count, address), daemon=False)
    sys.stdout.write("NCCL succeeded.\n")


test_nccl_ops.__test__ = False  # type: ignore[attr-defined]  # pytest: not a test


def main() -> None:
    """Writes the report to the terminal."""
    sys.stdout.write(collect_env_info() + "\n")
    if torch.cuda.device_count() > 1:
        test_nccl_ops()


def _own_version() -> str:
    import detectron2

    return detectron2.__version__


def _located(module: str, module_version: str) -> str:
    found = importlib.import_module(module).__file__
    return f"{module_version} @{os.path.dirname(found)}" if found else module_version


def _distribution_version(distribution: str, module: str) -> str:
    """The installed version, by the package data: importing could fail or take long."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return str(getattr(sys.modules.get(module), "__version__", "not installed"))


def _devices() -> list[tuple[str, str]]:
    if not torch.cuda.is_available():
        return [("GPU available", "No: torch.cuda.is_available() == False")]
    names: dict[str, list[str]] = defaultdict(list)
    for index in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(index)
        names[f"{torch.cuda.get_device_name(index)} (arch={major}.{minor})"].append(str(index))
    rows = [("GPU available", "Yes")]
    rows += [(f"GPU {','.join(indices)}", name) for name, indices in names.items()]
    rows.append(("CUDA of torch", str(torch.version.cuda)))
    driver = _run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
    rows.append(("Driver version", driver.splitlines()[0] if driver else "unknown"))
    rows.append(("CUDA_HOME", os.environ.get("CUDA_HOME", "<not set>")))
    return rows


def _run(command: list[str]) -> str | None:
    """What a program writes; None if there is no such program or it fails."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=20
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def _architecture(code: str) -> int:
    return int("".join(character for character in code if character.isdigit()))


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _reduce_once(rank: int, world_size: int, address: str) -> None:
    import torch.distributed as dist

    dist.init_process_group("nccl", init_method=address, rank=rank, world_size=world_size)
    torch.cuda.set_device(rank)
    dist.all_reduce(torch.ones(1, device=f"cuda:{rank}"))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
