"""Convolutions that pad in another way than they were built to."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class PaddedConv2d(nn.Conv2d):
    """A convolution over two axes that pads its input itself, with zeros.

    Attributes
    ----------
    pads
        ``"same"``: so that ``ceil(size / stride)`` positions come out, what is left over at the end (as
        TensorFlow does); or left, right, top and bottom.
    """

    pads: str | tuple[int, int, int, int]

    def forward(self, input: Tensor) -> Tensor:
        """``Float[Tensor, "batch channels height width"]`` in and out."""
        if isinstance(self.pads, str):
            height = same_pads(input.shape[-2], self.kernel_size[0], self.stride[0], self.dilation[0])
            width = same_pads(input.shape[-1], self.kernel_size[1], self.stride[1], self.dilation[1])
            input = functional.pad(input, (*width, *height))
        else:
            input = functional.pad(input, self.pads)
        return functional.conv2d(input, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def same_pads(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Zeros before and after an axis so that ``ceil(size / stride)`` positions come out."""
    total = (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size
    total = torch.sym_max(total, 0)  # a size may be one that torch.export keeps open
    return total // 2, total - total // 2


def padding_of(conv: nn.Module) -> str | list[int] | None:
    """How a convolution over two axes pads: ``same``, height and width, or left, right, top and bottom.

    Read from the module; None where it is no such convolution or pads with something else than zeros.
    """
    if not isinstance(conv, nn.Conv2d) or conv.padding_mode != "zeros":
        return None
    if isinstance(conv, PaddedConv2d):
        return conv.pads if isinstance(conv.pads, str) else list(conv.pads)
    inner = next((part for part in conv.children() if isinstance(part, nn.ZeroPad2d)), None)
    # Libraries that reproduce TensorFlow's networks name such layers so, or pad in a child of fixed size.
    if "same" in type(conv).__name__.lower() or inner is not None or conv.padding == "same":
        return "same"
    if isinstance(conv.padding, str):
        return [0, 0]
    return [int(side) for side in conv.padding]


def set_padding(root: nn.Module, path: str, value: Any) -> None:
    """Let the convolution at ``path`` pad as ``value`` says, see :func:`padding_of`; it keeps its tensors."""
    conv = root.get_submodule(path)
    if not isinstance(conv, nn.Conv2d):
        raise TypeError(f"a {type(conv).__name__}, which is no convolution over two axes")
    symmetric = not isinstance(value, str) and len(value) == 2
    made: nn.Conv2d = nn.Conv2d.__new__(nn.Conv2d if symmetric else PaddedConv2d)
    made.__dict__.update(conv.__dict__)
    for name in ("_parameters", "_buffers", "_modules"):
        made.__dict__[name] = dict(conv.__dict__[name])
    made.padding = tuple(value) if symmetric else (0, 0)
    if isinstance(made, PaddedConv2d):
        made.pads = value if isinstance(value, str) else tuple(value)
    owner, _, leaf = path.rpartition(".")
    root.get_submodule(owner)._modules[leaf] = made
