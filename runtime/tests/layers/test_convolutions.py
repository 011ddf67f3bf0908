"""Convolutions with norm and activation, blocks, deformable convolutions, ASPP."""

from typing import Any

import pytest
import torch
from golden import Golden, exception_name, weight_rule
from torch import nn
from torch.nn import functional as F

from detectron2.layers import (
    ASPP,
    CNNBlockBase,
    Conv2d,
    ConvTranspose2d,
    DeformConv,
    DepthwiseSeparableConv2d,
    FrozenBatchNorm2d,
    ModulatedDeformConv,
)


def separable() -> DepthwiseSeparableConv2d:
    return DepthwiseSeparableConv2d(
        4, 6, 3, padding=1, norm1="BN", norm2="BN", activation1=F.relu, activation2=F.relu
    )


def aspp(**keywords: Any) -> ASPP:
    return ASPP(8, 6, [2, 4, 6], norm="BN", activation=F.relu, dropout=0.1, **keywords).eval()


@torch.no_grad()
def test_convolutions_equal_the_recorded_ones() -> None:
    golden = Golden("layers_misc")
    fill, x, facts = weight_rule().fill, golden.input("x"), golden.json("facts")
    conv = fill(Conv2d(4, 6, 3, padding=1, norm=FrozenBatchNorm2d(6), activation=F.relu), 0)
    golden.check("conv", conv(x))
    golden.check("ds", fill(separable(), 0).eval()(x))
    assert list(conv.state_dict()) == facts["conv_names"]
    assert list(separable().state_dict()) == facts["ds_names"]


@pytest.mark.parametrize("layer", [Conv2d(3, 4, 3), ConvTranspose2d(3, 4, 3)])
def test_an_empty_batch_passes_with_a_gradient(layer: nn.Module) -> None:
    y = layer(torch.zeros(0, 3, 8, 8))
    y.sum().backward()
    assert y.shape[:2] == (0, 4)
    assert layer.weight.grad.abs().sum() == 0


def test_a_synchronised_norm_refuses_an_empty_batch() -> None:
    with pytest.raises(AssertionError, match="empty batch"):
        Conv2d(3, 4, 3, norm=nn.SyncBatchNorm(4))(torch.zeros(0, 3, 8, 8))


def test_norm_comes_before_activation() -> None:
    conv = Conv2d(1, 1, 1, norm=nn.Identity(), activation=torch.neg)
    plain = Conv2d(1, 1, 1)
    plain.load_state_dict(conv.state_dict())
    x = torch.rand(1, 1, 2, 2)
    assert torch.equal(conv(x), -plain(x))


def test_a_block_knows_its_shape_and_freezes_in_place() -> None:
    block = CNNBlockBase(3, 4, 2)
    block.conv = Conv2d(3, 4, 1, norm=nn.BatchNorm2d(4))
    assert block.freeze() is block
    assert isinstance(block.conv.norm, FrozenBatchNorm2d)
    assert not any(parameter.requires_grad for parameter in block.parameters())
    assert (block.in_channels, block.out_channels, block.stride) == (3, 4, 2)


@pytest.mark.parametrize(
    ("name", "pool", "wide"),
    [("global", None, False), ("ds", None, True), ("pooled", (6, 8), False)],
)
@torch.no_grad()
def test_aspp_equals_the_recorded_one(name: str, pool: tuple[int, int] | None, wide: bool) -> None:
    golden = Golden("aspp")
    module = aspp(pool_kernel_size=pool, use_depthwise_separable_conv=wide)
    weight_rule().fill(module, golden.params["seed"])
    golden.check(name, module(golden.input("x")))


def test_facts_of_aspp_are_the_recorded_ones() -> None:
    x = torch.zeros(1, 8, 9, 8)
    Golden("aspp").check_json(
        "facts",
        {
            "names": list(aspp().state_dict()),
            "ds_names": list(aspp(use_depthwise_separable_conv=True).state_dict()),
            "not_divisible": exception_name(lambda: aspp(pool_kernel_size=(4, 4))(x)),
            "two_dilations": exception_name(lambda: ASPP(8, 6, [2, 4], norm="", activation=None)),
        },
    )


def test_aspp_names_the_size_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"\(9, 8\).*\(4, 4\)"):
        aspp(pool_kernel_size=(4, 4))(torch.zeros(1, 8, 9, 8))


def test_aspp_without_norm_has_biases() -> None:
    module = ASPP(8, 6, [2, 4, 6], norm="", activation=None)
    assert all(conv.bias is not None for conv in module.modules() if isinstance(conv, nn.Conv2d))


def test_aspp_drops_out_in_training_only() -> None:
    x = torch.rand(2, 8, 6, 6)
    module = ASPP(8, 6, [1, 2, 3], norm="", activation=None, dropout=0.5)
    assert (module(x) == 0).float().mean() > 0.3
    assert torch.equal(module.eval()(x), module(x))


def test_deformable_convolution_without_offsets_is_a_convolution() -> None:
    x = torch.rand(2, 4, 6, 6)
    conv = DeformConv(4, 6, 3, stride=2, padding=1, groups=2, deformable_groups=2)
    expected = F.conv2d(x, conv.weight, stride=2, padding=1, groups=2)
    assert torch.allclose(conv(x, torch.zeros(2, 36, 3, 3)), expected, atol=1e-5)


def test_offsets_move_the_taps_down_and_right() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    conv = DeformConv(1, 1, 1)
    nn.init.ones_(conv.weight)
    offset = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    # One row down is 4 more, two columns right is 2 more.
    assert conv(x, offset)[0, 0, 0, :2].tolist() == [6, 7]


def test_modulation_weights_the_taps_and_keeps_the_bias() -> None:
    x = torch.rand(1, 4, 5, 5)
    conv = ModulatedDeformConv(4, 6, 3, padding=1)
    nn.init.constant_(conv.bias, 0.5)
    offset, mask = torch.zeros(1, 18, 5, 5), torch.full((1, 9, 5, 5), 0.25)
    expected = F.conv2d(x, conv.weight * 0.25, conv.bias, padding=1)
    assert torch.allclose(conv(x, offset, mask), expected, atol=1e-5)


def test_norm_and_activation_follow_a_deformable_convolution() -> None:
    conv = DeformConv(2, 2, 1, norm=nn.BatchNorm2d(2), activation=torch.relu)
    assert "norm.weight" in conv.state_dict()
    assert (conv(torch.rand(2, 2, 3, 3), torch.zeros(2, 2, 3, 3)) >= 0).all()


def test_a_deformable_convolution_keeps_its_precision_under_autocast() -> None:
    conv, x = ModulatedDeformConv(2, 3, 3, padding=1), torch.randn(1, 2, 5, 5).bfloat16()
    offset, mask = torch.randn(1, 18, 5, 5).bfloat16(), torch.rand(1, 9, 5, 5).bfloat16()
    expected = conv(x.float(), offset.float(), mask.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = conv(x.requires_grad_(), offset, mask)
    assert torch.equal(out, expected.bfloat16())
    out.sum().backward()
    assert x.grad is not None


def test_a_deformable_convolution_takes_an_empty_batch() -> None:
    y = DeformConv(4, 6, 3, padding=1)(torch.zeros(0, 4, 6, 6), torch.zeros(0, 18, 6, 6))
    assert y.shape == (0, 6, 6, 6)


def test_what_a_deformable_convolution_cannot_be_is_refused() -> None:
    with pytest.raises(AssertionError, match="no bias"):
        DeformConv(4, 4, 3, bias=True)
    with pytest.raises(AssertionError, match="5 output channels in 2 groups"):
        DeformConv(4, 5, 3, groups=2)


def _filled_norm(norm: nn.Module) -> nn.Module:
    for value in norm.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 2)
    return norm


@pytest.mark.parametrize("norm_class", [FrozenBatchNorm2d, nn.BatchNorm2d])
@pytest.mark.parametrize("bias", [False, True])
@torch.no_grad()
def test_a_constant_norm_is_folded_into_the_weights(
    norm_class: type[nn.Module], bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    conv = Conv2d(3, 4, 3, padding=1, bias=bias, norm=_filled_norm(norm_class(4))).eval()
    x = torch.randn(2, 3, 9, 8)
    expected = conv.norm(F.conv2d(x, conv.weight, conv.bias, padding=1))
    monkeypatch.setattr(conv.norm, "forward", None)  # It is not called.
    torch.testing.assert_close(conv(x), expected)


@torch.no_grad()
def test_a_folded_norm_leaves_the_weights_alone() -> None:
    conv = Conv2d(3, 4, 1, bias=False, norm=_filled_norm(FrozenBatchNorm2d(4)), activation=F.relu_)
    before = {name: value.clone() for name, value in conv.state_dict().items()}
    conv(torch.randn(1, 3, 9, 8))
    assert all(torch.equal(before[name], value) for name, value in conv.state_dict().items())


@torch.no_grad()
def test_batch_statistics_are_taken_from_the_batch_while_training() -> None:
    conv = Conv2d(3, 4, 1, norm=nn.BatchNorm2d(4)).train()
    output = conv(torch.randn(4, 3, 9, 8))
    torch.testing.assert_close(output.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    assert conv.norm.num_batches_tracked == 1


@torch.no_grad()
def test_a_norm_with_a_hook_is_called() -> None:
    conv = Conv2d(3, 4, 1, norm=FrozenBatchNorm2d(4))
    seen: list[tuple[int, ...]] = []
    conv.norm.register_forward_hook(lambda module, args, output: seen.append(output.shape))
    conv(torch.randn(2, 3, 9, 8))
    assert seen == [(2, 4, 9, 8)]


@torch.no_grad()
def test_batch_norms_without_statistics_or_affine_values_are_called() -> None:
    x = torch.randn(2, 3, 9, 8)
    for norm in (nn.BatchNorm2d(4, affine=False), nn.BatchNorm2d(4, track_running_stats=False)):
        conv = Conv2d(3, 4, 1, norm=norm).eval()
        torch.testing.assert_close(conv(x), norm(F.conv2d(x, conv.weight, conv.bias)))
