"""Features of boxes, sampled bilinearly (arXiv:1703.06870)."""

from __future__ import annotations

from torch import Tensor, nn


def roi_align(
    input: Tensor,
    boxes: Tensor | list[Tensor],
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """``torchvision.ops.roi_align``, imported at the first call: it brings in torch's compiler."""
    from torchvision import ops

    return ops.roi_align(input, boxes, output_size, spatial_scale, sampling_ratio, aligned)


class ROIAlign(nn.Module):
    """Resamples each box of a feature map to ``output_size``."""

    def __init__(
        self,
        output_size: int | tuple[int, int],
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool = True,
    ) -> None:
        """Fixes all but the features and the boxes.

        Args:
            output_size: height and width of the result.
            spatial_scale: what box coordinates are multiplied by, 1 / stride.
            sampling_ratio: samples per output pixel along an axis; 0 takes as many as the box has
                feature pixels.
            aligned: True takes the pixel centers at +0.5; False is half a pixel off, as models
                of before 2019 expect.
        """
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """(N, C, H, W) features and (R, 5) rows (image index, x0, y0, x1, y1): (R, C, h, w)."""
        assert rois.dim() == 2, f"ROIAlign wants (R, 5) boxes, not {tuple(rois.shape)}."
        assert rois.size(1) == 5, f"ROIAlign wants (R, 5) boxes, not {tuple(rois.shape)}."
        if input.is_quantized:
            input = input.dequantize()
        return roi_align(
            input,
            rois.to(input.dtype),
            self.output_size,
            self.spatial_scale,
            self.sampling_ratio,
            self.aligned,
        )

    def extra_repr(self) -> str:
        """The four settings."""
        return (
            f"output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned}"
        )
