"""Made-up inputs to try a network on."""

from __future__ import annotations

import functools

import torch

from regraft.core.inputs import Batch
from regraft.core.preprocessing import ImagePreprocessing, Preprocessing
from regraft.core.randomness import torch_generator


def example_of(steps: Preprocessing, *, count: int = 2, seed: int = 0) -> Batch:
    """Made-up inputs as preprocessing gives them: noise of unit variance, or ids with a padded tail."""
    generator = torch_generator(seed, "example batch")
    if isinstance(steps, ImagePreprocessing):
        return {"pixels": torch.randn(count, steps.channels, *steps.size, generator=generator)}
    length = min(steps.max_length, 16)
    ids = torch.randint(_vocabulary(steps.tokenizer), (count, length), generator=generator)
    mask = torch.ones(count, length, dtype=torch.int64)
    mask[-1, length // 2 :] = 0
    return {"input_ids": ids.masked_fill(mask == 0, steps.pad_id), "attention_mask": mask}


@functools.lru_cache(maxsize=4)
def _vocabulary(tokenizer: bytes) -> int:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(tokenizer.decode()).get_vocab_size()
