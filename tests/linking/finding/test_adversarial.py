"""A fair sample of the adversarial corpus: nothing is silently wrong, and what can be linked is proven.

The whole corpus is ``benchmarks/link_adversarial.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from regraft.linking import Link

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
HARD = {
    "cnn": ("names of all swapped", "tensors missing", "other head", "wider"),
    "vit": ("q, k, v in other order", "swapped, head of zeros", "not a number"),
    "mixer": ("names of two swapped", "no head"),
}
EASY = {
    "cnn": ("renamed: words and leaves", "order"),
    "vit": ("renamed: each module", "a second copy"),
    "gpt2": ("prefixed",),
}


@pytest.fixture(scope="module")
def corpus() -> Iterator[ModuleType]:
    """The benchmark as a module; its files import each other by their bare names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import link_adversarial

        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the networks are so small that a second one costs more than it brings
        yield link_adversarial
        torch.set_num_threads(threads)
        for name in [name for name in sys.modules if name.startswith("link_") or name == "common"]:
            del sys.modules[name]


def _cases(corpus: ModuleType, names: tuple[str, ...], side: str, architecture: str) -> list[Any]:
    found = [
        case
        for case in corpus.every_case(1)
        if (case.side, case.architecture.name) == (side, architecture) and case.alteration.name in names
    ]
    assert len(found) == len(names)
    return found


@pytest.mark.parametrize("architecture", HARD)
def test_nothing_is_silently_wrong(corpus: ModuleType, architecture: str) -> None:
    for case in _cases(corpus, HARD[architecture], "network", architecture):
        outcome = corpus.run(case)
        assert not outcome.wrong, outcome


def test_checkpoints_alone_are_never_proven(corpus: ModuleType) -> None:
    cases = [case for name, hard in HARD.items() for case in _cases(corpus, hard, "checkpoint", name)]
    assert {corpus.run(case).outcome for case in cases} == {"not proven", "refused"}


@pytest.mark.parametrize("architecture", EASY)
def test_other_names_and_other_order_are_proven(corpus: ModuleType, architecture: str) -> None:
    for case in _cases(corpus, EASY[architecture], "network", architecture):
        assert corpus.run(case).outcome == "proven", case


def test_the_judge_sees_a_wrong_proof(corpus: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verify that always agrees has to be caught, with other weights too, and so has a silent load."""
    case, *_ = _cases(corpus, ("deeper",), "network", "cnn")
    verify = Link.verify
    agreed = {"proven": True, "compared": "outputs", "unseen": ()}
    monkeypatch.setattr(Link, "verify", lambda *given: replace(verify(*given), **agreed))
    outcome = corpus.run(case)
    assert outcome.outcome == "SILENTLY WRONG"
    assert outcome.why == "proven, and the outputs differ"
    checkpoint, *_ = _cases(corpus, ("unchanged",), "checkpoint", "cnn")
    assert corpus.run(checkpoint).why == "proven without a network"


def test_the_judge_sees_tensors_that_nobody_named(corpus: ModuleType) -> None:
    model = nn.ModuleDict({str(place): nn.Linear(2, 2) for place in range(3)})
    link = type("Rows", (), {"rows": ()})()
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert corpus._unnamed(link, model, tensors, "") == []
    with torch.no_grad():
        for name in ("0", "2"):
            model[name].weight.add_(1)
            model[name].bias.add_(1)
    changed = ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert corpus._unnamed(link, model, tensors, "") == changed
    assert corpus._unnamed(link, model, tensors, "  {0..1}.{weight,bias}  4") == changed[2:]
    assert corpus._unnamed(link, model, tensors, "{0,2}.weight (2x2): none; 0.bias, 2.bias.") == []
