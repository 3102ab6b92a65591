"""A model with its source's own heads gives what the source gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regraft.core.errors import PlanError
from regraft.engine import Opened
from regraft.linking.blueprint import native_blueprint
from regraft.linking.network import Whole
from regraft.linking.origin import Origin
from regraft.plans import ModelSpec
from regraft.sources import example_batch, find


def test_it_computes_what_the_source_computes() -> None:
    source = find("packaged:efficientnet-lite0", size=32)
    link = Opened(source, source).link(ModelSpec(source=source.name, heads="source"), {}, seed=0)
    assert link.coverage.parameters == 1.0
    model, native = link.require(1.0).load(), Origin(source.name, source).native(head=True).module
    assert isinstance(native, Whole)
    batch = example_batch(source)
    with torch.no_grad():
        owners, weights = torch.arange(2), torch.from_numpy(np.ones(2, np.float32))
        found = model(batch, owners, weights, 2)["native"]
        assert torch.equal(found, native(batch))
    assert found.shape == (2, 1000)


def test_a_source_without_a_head_is_refused() -> None:
    source = find("packaged:minilm")
    with pytest.raises(PlanError, match=r"the own head of packaged:minilm .* which brings none"):
        native_blueprint(source, source)
