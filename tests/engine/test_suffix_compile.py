"""Compiled training: equal to eager, decided by counts, and given up aloud where it cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import regraft as rg
from regraft.core.errors import UsageError
from regraft.core.hashing import hash_tensors
from regraft.engine import execute, suffix_compile
from regraft.engine.history import bare
from regraft.engine.suffix_compile import CompiledSuffix, work_of_example
from regraft.engine.train_stage import TrainStageRun
from regraft.inference.backends.inductor import cpp_compiler
from regraft.targets import prepare
from tests.engine.conftest import Bench

CHANGES = ("stop.epochs=3", "streams.target.batch=8", "streams.target.views=0")
needs_compiler = pytest.mark.skipif(cpp_compiler() is None, reason="there is no C++ compiler")


@pytest.fixture(scope="module")
def small(bench: Bench) -> Bench:
    """Two convolutions with batch norm, on the bench's digits: quickly compiled."""
    return on_digits(bench)


def on_digits(bench: Bench, *random: nn.Module) -> Bench:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, 4), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), *random),
    )
    source = rg.Source.from_module(network, rg.ImagePreprocessing(size=(32, 32)), name="small")
    return Bench(source, prepare(bench.target, source.preprocessing, workers=1))


def trained(bench: Bench, compile: str, strategy: str = "lpft:1", **options: Any) -> Any:
    work = bench.open(bench.plan(strategy, *CHANGES), **options)
    work.settings = replace(work.settings, compile=compile)
    return work


def lines(work: Any) -> list[dict[str, Any]]:
    return [line for line in work.history.lines if line["kind"] == "train"]


@needs_compiler
def test_compiled_training_is_that_of_eager_and_resumes_to_the_bit(
    small: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    real = CompiledSuffix.__init__

    def counted(self: CompiledSuffix, *given: Any) -> None:
        real(self, *given)
        run = self._run

        def watched(*values: Any) -> Any:
            calls.append(len(values[0]))
            return run(*values)

        self._run = watched

    monkeypatch.setattr(CompiledSuffix, "__init__", counted)
    eager, compiled = trained(small, "never"), trained(small, "always")
    execute(eager)
    assert calls == []
    execute(compiled)
    assert "checked against eager" in compiled.notes[0]
    # The check and every full batch; what is left of each epoch runs eagerly, and so does validation.
    leading = TrainStageRun(compiled.plan.stages[-1], compiled, None).leading
    full = sum(len(leading.at(number)) == 8 for number in range(leading.batches))
    assert 0 < full < leading.batches
    assert calls == [8] * (1 + 3 * full)
    for one, other in zip(lines(compiled), lines(eager), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert one["validation"]["loss"] == pytest.approx(other["validation"]["loss"], rel=1e-3)
    real_step = TrainStageRun._step

    def stop(self: TrainStageRun) -> float:
        if self.standing.step == 5:
            raise KeyboardInterrupt
        return real_step(self)

    with monkeypatch.context() as patch:
        patch.setattr(TrainStageRun, "_step", stop)
        with pytest.raises(KeyboardInterrupt):
            execute(trained(small, "always", folder=tmp_path, checkpoint_seconds=0.0))
    resumed = trained(small, "always", folder=tmp_path, checkpoint_seconds=0.0)
    execute(resumed)
    weights = [hash_tensors(work.models["student"].state_dict()) for work in (resumed, compiled)]
    assert weights[0] == weights[1]
    assert [bare(line) for line in lines(resumed)] == [bare(line) for line in lines(compiled)]
    assert resumed.notes == compiled.notes


@needs_compiler
def test_dropout_is_compiled_and_repeats(bench: Bench) -> None:
    """Its masks are others than eager's; the check was made without them."""
    small = on_digits(bench, nn.Dropout(0.3))
    first, second = (trained(small, "always") for _ in range(2))
    execute(first)
    assert "checked against eager" in first.notes[0]
    execute(second)
    assert [bare(line) for line in lines(second)] == [bare(line) for line in lines(first)]


@needs_compiler
def test_layers_that_depart_from_eager_or_fail_are_not_used(
    small: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(function: Any, **options: Any) -> Any:
        return lambda *given: function(*given) * 1.01

    def broken(function: Any, **options: Any) -> Any:
        def fail(*given: Any) -> Any:
            raise RuntimeError("no kernel for that")

        return fail

    eager = trained(small, "never")
    execute(eager)
    for made, reason in ((wrong, "it departs from eager by"), (broken, "RuntimeError: no kernel for that")):
        monkeypatch.setattr(torch, "compile", made)
        work = trained(small, "always")
        execute(work)
        assert reason in work.notes[0]
        assert "trains eagerly" in capsys.readouterr().err
        weights = [hash_tensors(one.models["student"].state_dict()) for one in (work, eager)]
        assert weights[0] == weights[1]


def test_without_a_compiler_it_is_eager(small: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suffix_compile, "cpp_compiler", lambda: None)
    work = trained(small, "always")
    execute(work)
    assert "there is no C++ compiler" in work.notes[0]


def test_auto_counts_the_whole_stage(small: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: 3 x 3 convolutions from 8 to 8 channels at 3 x 3 places; forward, and backward twice that."""
    monkeypatch.setattr(suffix_compile, "cpp_compiler", lambda: "g++")
    tried: list[str] = []
    monkeypatch.setattr(
        suffix_compile, "_try", lambda run: tried.append(run.stage.name) or "it was not tried"
    )
    work = trained(small, "auto")
    run = TrainStageRun(work.plan.stages[-1], work, None)  # type: ignore[arg-type]
    # The activation in front is cut off: nothing is trained there, so it gets no gradient.
    convolution = 9 * 8 * 8 * 9
    assert work_of_example(run) == pytest.approx(2 * convolution, rel=0.1)
    execute(trained(small, "auto"))
    assert tried == []
    monkeypatch.setattr(suffix_compile, "FEWEST", 1)
    monkeypatch.setitem(suffix_compile.REPAID, "cpu", 100.0 * convolution)
    execute(trained(small, "auto"))
    assert tried == ["tune"]
    with pytest.raises(UsageError, match="--compile yes: there are auto, never, always"):
        rg.Settings(compile="yes")
