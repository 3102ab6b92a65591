"""dora: low-rank changes of direction, with the magnitudes of weights trained beside them."""

from __future__ import annotations

from regraft.strategies.lora import LoRA


class DoRA(LoRA):
    """As ``lora``, of each weight's direction, with a trained magnitude for each of its outputs.

    Source: Liu et al. (2024), "DoRA: Weight-decomposed low-rank adaptation". Steps take longer than those of
    ``lora``: norms of the changed weights are computed in each of them. Changed for small data as ``lora``
    is.
    """

    name = "dora"
    when = "where lora at a low rank falls short of full and steps may take longer"
    cite = "Liu et al.: DoRA: Weight-decomposed low-rank adaptation. ICML 2024"
