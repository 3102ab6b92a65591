"""Compiled layers give what eager gives, or are given up aloud."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from regraft.core.errors import UsageError
from regraft.core.inputs import Batch
from regraft.core.preprocessing import ImagePreprocessing
from regraft.inference.backends import (
    TOLERANCES,
    Backend,
    EagerBackend,
    Work,
    choice,
    inductor,
    most_work,
    open_backend,
    opening,
    wanted_backend,
    work_of,
)
from regraft.inference.backends.openvino import OpenVINOBackend
from regraft.sources import Trunk, from_module
from regraft.sources.native import example_batch, load_native

CPU = torch.device("cpu")
HERE = (
    "openvino",
    pytest.param("compile", marks=pytest.mark.skipif(not inductor.cpp_compiler(), reason="g++")),
)


class Plain(nn.Module):
    """A convolution, a batch norm and a skip: what a compiler fuses."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.body = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        stem = torch.relu(self.norm(self.stem(pixels)))
        return (stem + self.body(stem)).mean((2, 3))


@pytest.fixture(scope="module")
def plain() -> tuple[Trunk, Batch]:
    torch.manual_seed(0)
    source = from_module(Plain(), ImagePreprocessing(size=(8, 8)))
    return load_native(source), example_batch(source, count=4)


@pytest.fixture
def fresh(own_cache: Path) -> Iterator[Path]:
    """A cache, and a process, in which nothing has been compiled yet."""
    opening._stores.clear()
    before = os.environ.pop("TORCHINDUCTOR_CACHE_DIR", None)
    yield own_cache
    opening._stores.clear()
    os.environ.pop("TORCHINDUCTOR_CACHE_DIR", None)
    os.environ |= {} if before is None else {"TORCHINDUCTOR_CACHE_DIR": before}


def opened(name: str, case: tuple[Trunk, Batch], **options: object) -> Backend:
    trunk, batch = case
    return open_backend(name, trunk, len(trunk.blocks), batch, CPU, **options)  # type: ignore[arg-type]


def test_compiled_layers_agree_with_eager(image_embedder: tuple) -> None:  # type: ignore[type-arg]
    prepared, make = image_embedder
    compiled, eager = make(backend="openvino"), make()
    everyone = np.arange(len(prepared.inputs))
    found, expected = compiled.features(everyone), eager.features(everyone)
    assert compiled.backend_name == "openvino"
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert not torch.equal(found, expected), "nothing was compiled"
    assert torch.equal(make(backend="openvino").features(everyone[::-1].copy()), found.flip(0))


@pytest.mark.parametrize("name", HERE)
def test_each_backend_agrees_with_eager_on_a_network_of_ones_own(
    name: str,
    plain: tuple[Trunk, Batch],
    fresh: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    backend, expected = opened(name, plain), opened("eager", plain).run(plain[1])
    assert backend.name == name, capsys.readouterr().err
    found = backend.run(plain[1])
    assert (found - expected).abs().max() <= TOLERANCES[torch.float32] * expected.abs().max()
    found.requires_grad_()  # it may take part in training
    kept = "*.cpp" if name == "compile" else "nothing is kept without facts"
    assert bool(list((fresh / "compiled").rglob(kept))) == (name == "compile")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cuda_graphs_agree_with_eager(plain: tuple[Trunk, Batch], dtype: torch.dtype) -> None:
    trunk, batch = plain
    cuda = torch.device("cuda")
    expected = EagerBackend(trunk, len(trunk.blocks), CPU).run(batch)
    moved = load_native(from_module(Plain(), ImagePreprocessing(size=(8, 8)))).to(cuda)
    moved.load_state_dict(trunk.state_dict())
    backend = open_backend("compile", moved, len(moved.blocks), batch, cuda, dtype=dtype)
    assert backend.name == "compile"
    assert (backend.run(batch) - expected).abs().max() <= TOLERANCES[dtype] * expected.abs().max()


def test_bfloat16_is_by_choice_and_changes_the_values(plain: tuple[Trunk, Batch], fresh: Path) -> None:
    exact, rough = opened("eager", plain), opened("eager", plain, dtype=torch.bfloat16)
    values, reference = rough.run(plain[1]), exact.run(plain[1])
    assert values.dtype == torch.float32
    difference = float((values - reference).abs().max() / reference.abs().max())
    assert 1e-4 < difference <= TOLERANCES[torch.bfloat16]


class Moody(nn.Module):
    """Decides by its input what to do, which no exporter can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, pixels: Tensor) -> Tensor:
        pooled = pixels.mean((2, 3))
        return self.layer(pooled if pooled.sum().item() > 0 else -pooled)


def test_what_cannot_be_compiled_runs_eagerly_and_says_so_once(
    fresh: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = from_module(Moody(), ImagePreprocessing(size=(8, 8)))
    trunk, batch = load_native(source), example_batch(source)
    backend = opened("openvino", (trunk, batch), facts={"network": "moody"})
    assert isinstance(backend, EagerBackend)
    assert "The frozen layers cannot be compiled" in capsys.readouterr().err
    assert torch.equal(backend.run(batch), trunk(batch))
    assert opened("openvino", (trunk, batch), facts={"network": "moody"}).name == "eager"
    assert capsys.readouterr().err == ""


def test_compiled_layers_that_depart_are_given_up_aloud(
    plain: tuple[Trunk, Batch], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(TOLERANCES, torch.float32, -1.0)
    assert isinstance(opened("openvino", plain), EagerBackend)
    assert "The compiled layers depart from eager by" in capsys.readouterr().err


def test_without_a_compiler_another_backend_takes_its_place_aloud(
    plain: tuple[Trunk, Batch], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert opened("compile", plain).name == "eager"
    assert "torch.compile needs a C++ compiler: install g++" in capsys.readouterr().err
    assert opened("compile", plain, instead=lambda: ("openvino",)).name == "openvino"


def test_several_lengths_are_converted_once_and_each_agrees_with_eager(
    text_embedder: tuple,  # type: ignore[type-arg]
    fresh: Path,
) -> None:
    prepared, make = text_embedder
    buckets = np.asarray(prepared.inputs.buckets)
    assert len(np.unique(buckets)) > 1
    compiled = make(backend="openvino", cut=2)
    everyone = np.arange(len(prepared.inputs))
    found, expected = compiled.activations(everyone), make(cut=2).activations(everyone)
    assert compiled.backend_name == "openvino"
    assert len(folders(fresh)) == 1
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert not torch.equal(found, expected), "nothing was compiled"


def folders(cache: Path) -> list[Path]:
    return sorted(path for path in (cache / "compiled").iterdir() if path.is_dir())


def test_a_second_process_opens_what_the_first_kept(
    plain: tuple[Trunk, Batch], fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from regraft.inference.backends import openvino as module

    conversions: list[bool] = []
    convert = module._converted

    def counted(*arguments: object) -> object:
        conversions.append(True)
        return convert(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_converted", counted)
    facts = {"weights": "these"}
    first = opened("openvino", plain, facts=facts).run(plain[1])
    assert [path.name for path in sorted(folders(fresh)[0].iterdir())] == [
        "made.json",
        "model.bin",
        "model.xml",
    ]
    opened("openvino", plain, facts=facts)
    opening._stores.clear()  # as in another process
    assert torch.equal(opened("openvino", plain, facts=facts).run(plain[1]), first)
    assert len(conversions) == 1
    opened("openvino", plain, facts={"weights": "others"})
    assert len(conversions) == 2
    assert len(folders(fresh)) == 2


@pytest.mark.parametrize(
    ("name", "damage"), [("model.bin", "half"), ("model.xml", "gone"), ("made.json", "half")]
)
def test_a_damaged_artefact_is_dropped_and_made_again(
    plain: tuple[Trunk, Batch], fresh: Path, capsys: pytest.CaptureFixture[str], name: str, damage: str
) -> None:
    facts = {"weights": "these"}
    first = opened("openvino", plain, facts=facts).run(plain[1])
    (folder,) = folders(fresh)
    whole = (folder / name).read_bytes()
    (folder / name).unlink()
    if damage == "half":
        (folder / name).write_bytes(whole[: len(whole) // 2])
    opening._stores.clear()
    again = opened("openvino", plain, facts=facts)
    assert "A damaged compiled network is dropped and made again" in capsys.readouterr().err
    assert again.name == "openvino"
    assert torch.equal(again.run(plain[1]), first)
    assert (folder / name).stat().st_size >= len(whole) // 2 + 1


def test_an_artefact_of_a_network_that_changed_is_made_again(
    plain: tuple[Trunk, Batch], fresh: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Facts cannot name everything, a class's code for one: eager has the last word."""
    torch.manual_seed(1)
    other = load_native(from_module(Plain(), ImagePreprocessing(size=(8, 8))))
    facts = {"weights": "said to be the same"}
    opened("openvino", (other, plain[1]), facts=facts)
    opening._stores.clear()
    backend = opened("openvino", plain, facts=facts)
    assert backend.name == "openvino"
    expected = opened("eager", plain).run(plain[1])
    assert (backend.run(plain[1]) - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert capsys.readouterr().err == ""


def test_a_full_disk_costs_only_what_would_be_kept(
    plain: tuple[Trunk, Batch],
    fresh: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from regraft.inference.backends import kept

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept, "write_json", full)
    assert opened("openvino", plain, facts={"weights": "these"}).name == "openvino"
    assert "cannot be kept for the next run: [Errno 28] No space left" in capsys.readouterr().err
    assert folders(fresh) == []


def test_trained_weights_do_not_reach_what_was_compiled_before(fresh: Path) -> None:
    torch.manual_seed(2)
    source = from_module(Plain(), ImagePreprocessing(size=(8, 8)))
    trunk, batch = load_native(source), example_batch(source, count=4)
    for name in ("openvino", "compile")[: 2 if inductor.cpp_compiler() else 1]:
        before = opened(name, (trunk, batch), facts={"weights": "first"}).run(batch)
        kept = {key: value.clone() for key, value in trunk.state_dict().items()}
        with torch.no_grad():
            trunk.network.get_parameter("stem.weight").mul_(3)
        changed = opened(name, (trunk, batch), facts={"weights": "second"}).run(batch)
        trunk.load_state_dict(kept)
        again = opened(name, (trunk, batch), facts={"weights": "first"})
        assert again.name == name
        assert torch.equal(again.run(batch), before)
        assert not torch.allclose(changed, before)


def test_work_is_what_convolutions_and_matrix_products_write(plain: tuple[Trunk, Batch]) -> None:
    trunk, batch = plain
    assert work_of(trunk, len(trunk.blocks), batch) == Work(convolutions=2 * 8 * 8 * 8, matrices=0)
    moody = load_native(from_module(Moody(), ImagePreprocessing(size=(8, 8))))
    assert work_of(moody, len(moody.blocks), batch) == Work(convolutions=0, matrices=4)
    assert most_work(batch) > 2 * 8 * 8 * 8


LITE = Work(convolutions=6.74e6)  # EfficientNet-Lite0 at 224 pixels


@pytest.mark.parametrize(
    ("wanted", "pieces", "shapes", "device", "work", "chosen"),
    [
        ("auto", 200, 1, "cpu", LITE, "eager"),
        ("auto", 300, 1, "cpu", LITE, "openvino"),
        ("auto", 300, 2, "cpu", LITE, "eager"),
        ("auto", 10**9, 1, "cpu", Work(matrices=4e6), "eager"),
        ("auto", 10**4, 1, "cuda", LITE, "eager"),
        ("auto", 10**6, 1, "cuda", LITE, "compile"),
        ("auto", 10**6, 1, "mps", LITE, "eager"),
        ("openvino", 1, 1, "cpu", Work(), "openvino"),
        ("openvino", 1, 3, "cpu", Work(), "openvino"),
        ("compile", 1, 3, "cpu", Work(), "compile"),
        ("eager", 10**9, 1, "cpu", LITE, "eager"),
    ],
)
def test_the_backend_is_chosen_by_counts(
    wanted: str, pieces: int, shapes: int, device: str, work: Work, chosen: str
) -> None:
    found = wanted_backend(
        wanted, pieces=pieces, shapes=shapes, device=torch.device(device), work=lambda: work
    )
    assert found == chosen


def test_without_openvino_torch_compile_has_to_repay_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "is_installed", lambda name: False)
    monkeypatch.setattr(choice, "cpp_compiler", lambda: "/usr/bin/g++")
    found = [
        wanted_backend("auto", pieces=pieces, shapes=1, device=CPU, work=lambda: LITE)
        for pieces in (300, 4000)
    ]
    assert found == ["eager", "compile"]


def test_nothing_is_run_to_choose_where_it_cannot_pay() -> None:
    def never() -> Work:
        raise AssertionError("counted")

    assert wanted_backend("auto", pieces=9, shapes=1, device=CPU, work=never, most=1e6) == "eager"
    with pytest.raises(AssertionError, match="counted"):
        wanted_backend("auto", pieces=9, shapes=1, device=CPU, work=never, most=math.inf)


def test_an_unknown_backend_says_what_there_is() -> None:
    with pytest.raises(UsageError, match="there is no backend 'tvm'; there are: auto, eager, openvino, comp"):
        wanted_backend("tvm", pieces=1, shapes=1, device=CPU)


def test_openvino_wants_a_cpu(plain: tuple[Trunk, Batch], capsys: pytest.CaptureFixture[str]) -> None:
    trunk, batch = plain
    backend = open_backend("openvino", trunk, len(trunk.blocks), batch, torch.device("meta"))
    assert isinstance(backend, EagerBackend)
    assert not isinstance(backend, OpenVINOBackend)
    assert "OpenVINO runs on a CPU, and the device is meta" in capsys.readouterr().err
