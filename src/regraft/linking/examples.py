"""Made-up inputs for a module about which nothing is known but its layers."""

from __future__ import annotations

import inspect

import torch
from torch import nn

from regraft.core.errors import LinkError
from regraft.core.randomness import torch_generator
from regraft.linking.network import Call, Given, Network, block_free

_SIZE = 224
_LENGTH = 16


def example_call(module: nn.Module, given: Given | None, *, seed: int = 0) -> Call:
    """Arguments that ``module`` can read: the given ones, or guessed from its first layer.

    A convolution over two axes gets images of 224 pixels (or of the size that the module names in
    ``img_size`` or ``image_size``), an embedding gets 16 ids, a linear layer gets rows.
    """
    if given is not None:
        return Network(module, {}, Call(), block_free).adapt(given)
    generator = torch_generator(seed, "example call")
    for part in module.modules():
        if isinstance(part, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            axes = part.weight.ndim - 2
            sides = _image_size(module) if axes == 2 else (64,) * axes
            return Call((torch.randn(2, part.in_channels, *sides, generator=generator),))
        if isinstance(part, nn.Embedding):
            return _texts(module, part, generator)
        if isinstance(part, nn.Linear):
            return Call((torch.randn(2, part.in_features, generator=generator),))
    raise LinkError(
        f"no inputs can be guessed for {type(module).__name__}: hand some over with inputs=(tensor, ..) "
        "(--input 2x3x224x224)"
    )


def _image_size(module: nn.Module) -> tuple[int, int]:
    """The size that the module or one of its first parts names; 224 where none does."""
    config = getattr(module, "config", None)
    for holder in (config, module, *list(module.modules())[:8]):
        for name in ("img_size", "image_size"):
            size = getattr(holder, name, None)
            if isinstance(size, int):
                return (size, size)
            if isinstance(size, (tuple, list)) and len(size) == 2 and all(isinstance(n, int) for n in size):
                return (size[0], size[1])
    return (_SIZE, _SIZE)


def _texts(module: nn.Module, part: nn.Embedding, generator: torch.Generator) -> Call:
    ids = torch.randint(part.num_embeddings, (2, _LENGTH), generator=generator)
    mask = torch.ones_like(ids)
    mask[-1, _LENGTH // 2 :] = 0
    known = inspect.signature(module.forward).parameters
    if "input_ids" in known and "attention_mask" in known:
        return Call((), {"input_ids": ids, "attention_mask": mask})
    return Call((ids,))
