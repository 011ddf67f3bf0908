"""Normalisation layers and their names."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from golden import Golden, weight_rule
from torch import nn

from detectron2.layers import FrozenBatchNorm2d, NaiveSyncBatchNorm, get_norm
from detectron2.layers.batch_norm import LayerNorm


def filled_norm(channels: int = 4) -> FrozenBatchNorm2d:
    holder = nn.ModuleDict({"bn": FrozenBatchNorm2d(channels)})
    return weight_rule().fill(holder, 0)["bn"]


def random_batch_norm(channels: int = 3) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, eps=1e-3)
    for values in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        values.uniform_(0.5, 1.5)
    return norm.eval()


def test_frozen_norm_equals_the_recorded_one_with_and_without_gradient() -> None:
    golden = Golden("layers_misc")
    norm, x = filled_norm(), golden.input("x")
    golden.check("frozen", norm(x))
    golden.check("frozen", norm(x.requires_grad_()))


def test_frozen_norm_passes_the_gradient_of_batch_norm() -> None:
    x, norm = torch.rand(2, 3, 4, 5, dtype=torch.float64), random_batch_norm().double()
    frozen = FrozenBatchNorm2d.convert_frozen_batchnorm(norm)
    gradients = []
    for layer in (norm, frozen):
        leaf = x.clone().requires_grad_()
        (layer(leaf) ** 2).sum().backward()
        gradients.append(leaf.grad)
    assert torch.allclose(*gradients)


def test_frozen_norm_keeps_half_precision() -> None:
    x = torch.rand(1, 4, 2, 2, dtype=torch.bfloat16)
    norm = filled_norm()
    assert norm(x).dtype == norm(x.requires_grad_()).dtype == torch.bfloat16
    assert torch.allclose(norm(x).float(), norm(x.detach().float()), atol=0.05)


def test_frozen_norm_takes_an_empty_batch() -> None:
    x = torch.rand(0, 4, 2, 2, requires_grad=True)
    assert filled_norm()(x).shape == filled_norm()(x.detach()).shape == (0, 4, 2, 2)


def test_frozen_norm_starts_as_the_identity_without_parameters() -> None:
    norm, x = FrozenBatchNorm2d(3), torch.rand(2, 3, 4, 4)
    assert torch.allclose(norm(x), x)
    assert not list(norm.parameters())


@pytest.mark.parametrize("version", [None, 1])
def test_the_first_format_may_lack_the_statistics(version: int | None) -> None:
    state = FrozenBatchNorm2d(3).state_dict()
    del state["running_mean"], state["running_var"]
    state._metadata = {} if version is None else {"": {"version": version}}
    norm = FrozenBatchNorm2d(3)
    norm.load_state_dict(state)
    assert norm.running_mean.tolist() == [0, 0, 0]
    assert norm.running_var.tolist() == [1, 1, 1]


def test_later_formats_must_have_the_statistics() -> None:
    state = FrozenBatchNorm2d(3).state_dict()
    del state["running_var"]
    with pytest.raises(RuntimeError, match="running_var"):
        FrozenBatchNorm2d(3).load_state_dict(state)


def test_freezing_keeps_values_names_and_result() -> None:
    norm, x = random_batch_norm(), torch.rand(2, 3, 4, 4)
    expected, names = norm(x), set(norm.state_dict())
    holder = nn.Sequential(nn.Identity(), nn.Sequential(norm))
    assert FrozenBatchNorm2d.convert_frozen_batchnorm(holder) is holder
    frozen = holder[1][0]
    assert isinstance(frozen, FrozenBatchNorm2d)
    assert set(frozen.state_dict()) == names
    assert torch.allclose(frozen(x), expected, atol=1e-6)
    assert not list(holder.parameters())


@pytest.mark.parametrize(
    "norm", [nn.SyncBatchNorm(3), NaiveSyncBatchNorm(3), nn.BatchNorm2d(3, affine=False)]
)
def test_every_batch_norm_of_images_freezes(norm: nn.Module) -> None:
    frozen = FrozenBatchNorm2d.convert_frozen_batchnorm(norm)
    assert type(frozen).__name__ == Golden("layers_misc").json("facts")["convert_frozen"]
    assert torch.allclose(frozen(torch.ones(1, 3, 2, 2)), torch.ones(1, 3, 2, 2))


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(3), nn.GroupNorm(1, 3)])
def test_other_norms_stay(norm: nn.Module) -> None:
    assert FrozenBatchNorm2d.convert_frozen_batchnorm(norm) is norm


def test_unfreezing_is_the_inverse() -> None:
    norm, x = random_batch_norm(), torch.rand(2, 3, 4, 4)
    holder = FrozenBatchNorm2d.convert_frozen_batchnorm(nn.Sequential(norm))
    back = FrozenBatchNorm2d.convert_frozenbatchnorm2d_to_batchnorm2d(holder)[0]
    assert type(back) is nn.BatchNorm2d
    assert torch.allclose(back.eval()(x), norm(x))
    assert all(parameter.requires_grad for parameter in back.parameters())


def test_names_give_the_recorded_layers() -> None:
    facts = Golden("layers_misc").json("facts")
    made = {name: type(get_norm(name, 64)).__name__ for name in facts["norms"] if name}
    assert {"": "None", **made} == facts["norms"]
    assert get_norm("", 64) is None
    group_norm = get_norm("GN", 64)
    assert isinstance(group_norm, nn.GroupNorm)
    assert group_norm.num_groups == facts["gn_groups"]
    assert FrozenBatchNorm2d(3).eps == facts["frozen_eps"]
    assert list(FrozenBatchNorm2d(3).state_dict()) == facts["frozen_names"]
    assert list(dict(FrozenBatchNorm2d(3).named_parameters())) == facts["frozen_params"]


def test_a_norm_may_be_a_function_or_absent() -> None:
    assert isinstance(get_norm(nn.InstanceNorm2d, 3), nn.InstanceNorm2d)
    assert get_norm(None, 3) is None


def test_an_unknown_norm_names_those_that_exist() -> None:
    with pytest.raises(KeyError, match=r"'XX'.*FrozenBN"):
        get_norm("XX", 3)


def test_layer_norm_is_over_the_channels_of_each_pixel() -> None:
    x, norm = torch.rand(2, 4, 3, 5), LayerNorm(4)
    nn.init.uniform_(norm.weight)
    variance, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
    normalized = (x - mean) / (variance + 1e-6).sqrt()
    assert torch.allclose(norm(x), normalized * norm.weight[:, None, None], atol=1e-5)


def test_synchronised_norm_alone_is_batch_norm() -> None:
    x = torch.rand(4, 3, 2, 2)
    ours, plain = NaiveSyncBatchNorm(3), nn.BatchNorm2d(3)
    assert torch.equal(ours(x), plain(x))
    assert torch.equal(ours.running_var, plain.running_var)


def test_synchronised_norm_knows_two_kinds_of_statistics() -> None:
    with pytest.raises(AssertionError, match="'X' is neither"):
        NaiveSyncBatchNorm(3, stats_mode="X")


def test_two_processes_normalise_as_one(tmp_path: Path) -> None:
    script = Path(__file__).with_name("sync_norm_process.py")
    workers = [
        subprocess.Popen(
            [sys.executable, script, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE
        )
        for rank in range(2)
    ]
    reports = [json.loads(worker.communicate(timeout=120)[0]) for worker in workers]
    for report in reports:
        assert report == dict.fromkeys(report, True)
        assert len(report) == 8
