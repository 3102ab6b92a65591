"""A wrong call ends with one sentence that says what to type next, the right status and no traceback."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from regraft.cli import app as app_module
from tests.cli.conftest import Run

MISTAKES = [
    ("fit {photos}x --out {out}", 1, r"there is no folder .*; did you mean .*photos"),
    ("fit {photos}/one --out {out}", 1, "holds 19 images but no class folders, so there are no labels"),
    (
        "fit {photos} --out {out} --source packaged:eficientnet-lite0",
        1,
        "Did you mean packaged:efficientnet-lite0",
    ),
    ("fit {photos} --out {out} --source resnet", 1, "A name starts with one of packaged:"),
    ("fit {photos} --out {out} --source packaged:minilm", 2, "regraft sources --modality image"),
    (
        "fit {photos} --out {out} --source packaged:minilm --size 32",
        2,
        "packaged:minilm reads text: it has no input size in pixels",
    ),
    ("fit {photos} --out {out} --strategy prob", 2, r"no strategy 'prob'\. Did you mean probe\?"),
    (
        "fit {photos} --out {out} --set stop.epochs=2",
        1,
        "--set stop.epochs: the plan has no such key. `regraft plan",
    ),
    (
        "fit {photos} --out {out} --set nonsense",
        1,
        "--set wants KEY=VALUE, as in stop.epochs=5; got 'nonsense'",
    ),
    ("fit {photos} --out {out} --label species", 2, "label cannot be given for a folder of images"),
    ("fit {photos} --out {out} --task magic", 2, "the tasks are binary, multiclass, multilabel, regression"),
    ("fit {photos} --out {out} --test-size some", 2, r"give a share such as 0\.2 or a count such as 500"),
    ("fit {photos} --out {out} --device tpu", 2, "there is no device 'tpu'; there are: auto, cpu, cuda, mps"),
    (
        "fit {photos} --out {out} --backend tvm",
        2,
        "there is no backend 'tvm'; there are: auto, eager, openvino",
    ),
    ("fit {photos} --out {out} --threads 0", 2, "--threads wants a whole number from 1; got 0"),
    ("fit {photos} --out {out} --plan p.yaml --source x", 2, "edit the plan file instead"),
    ("fit {photos} --out {out} --plan p.yaml --seed 0 --strategy lpft", 2, "that --strategy, --seed would"),
    ("plan {photos} --plan p.yaml --per-class 5 --size 64", 2, "all that --per-class, --size would"),
    ("fit {photos} --out {out} --plan p.yaml", 1, r"the plan p\.yaml cannot be read"),
    ("fit {photos} --out {run}", 2, r"holds a run already \(done\)\. Give another --out"),
    ("fit {table} --out {out} --text body", 1, "say which holds the label with"),
    (
        "fit {table} --out {out} --text body --label wrods",
        1,
        r"no label column 'wrods' in .*; the columns are words",
    ),
    (
        "fit {table} --out {out} --label words --text bdy",
        1,
        r"no text column 'bdy' in .*; the columns are body",
    ),
    (
        "fit {table} --out {out} --label words --text body --task length=regression",
        2,
        "the outputs are words",
    ),
    (
        "plan {photos} --set nothing.here=3",
        1,
        "the plan has no such key. `regraft plan DATA` prints its keys",
    ),
    ("plan {photos} --strategy lpft --set stop.epoch=3", 1, r"did you mean stop\.epochs\?"),
    ("plan {photos} --strategy distil:nothing", 1, "there is no source 'nothing'"),
    ("plan", 2, "regraft plan wants DATA, or --list for the strategies"),
    (
        "prove {photos}",
        1,
        "is not the folder of a run: it holds no run.json. Give the folder that `regraft fit",
    ),
    ("prove {run} --budget soon", 2, "'soon' is no time; write 90s, 5m or 2h"),
    ("prove {run} --scratch big", 2, "--scratch big: there are auto, same, small, both"),
    ("predict {photos} x.png", 1, "holds no model.json: it is no run"),
    (
        "predict nowhere x.png",
        1,
        "there is no folder nowhere. Give the folder that `regraft fit --out` wrote",
    ),
    ("evaluate {run} {table}", 1, "no column of .* is called"),
    ("resume {photos}", 1, "is not the folder of a run"),
    ("report {photos}", 1, "is not the folder of a run"),
    ("export {run} --to torch", 2, "--to torch: there are onnx, safetensors"),
    ("sources --modality smell", 2, "there is no modality 'smell'; there are: image, text"),
    ("link {photos} packaged:efficientnet-lite0", 1, "."),
]


@pytest.mark.parametrize(("line", "status", "message"), MISTAKES, ids=[line for line, _, _ in MISTAKES])
def test_a_mistake_is_answered_in_a_sentence(
    regraft: Run,
    line: str,
    status: int,
    message: str,
    photos: Path,
    image_run: Path,
    summaries_csv: Path,
    tmp_path: Path,
) -> None:
    places = {"photos": photos, "run": image_run, "table": summaries_csv, "out": tmp_path / "out"}
    said = regraft(*line.format(**places).split())
    assert said.status == status, said.err
    assert said.out == ""
    assert re.search(message, said.err), said.err
    last = said.err.splitlines()[-1]
    assert last.startswith("regraft: ")
    assert not (tmp_path / "out").exists(), "a wrong call leaves nothing behind"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("fti photos", "No such command 'fti'. Did you mean 'fit'?"),
        ("fit", "Missing argument"),
        ("fit photos", "Missing option '--out'"),
        ("fit photos --out x --sede 3", "No such option: --sede"),
        ("fit photos --out x --size big", "Invalid value for '--size'"),
        ("prove x --seeds 2", "Invalid value for '--seeds'"),
        ("predict x", "Missing argument"),
    ],
)
def test_a_call_that_cannot_be_read_has_status_2(regraft: Run, line: str, message: str) -> None:
    said = regraft(*line.split())
    assert said.status == 2
    assert message in said.err
    assert "Try 'regraft" in said.err


def test_an_interrupt_has_status_130(regraft: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**rest: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app_module, "app", interrupted)
    said = regraft("fit")
    assert (said.status, said.err) == (130, "Interrupted.\n")


def test_the_installed_program_tells_its_streams_apart(photos: Path) -> None:
    command = [sys.executable, "-m", "regraft", "fit", str(photos) + "x", "--out", "x", "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("regraft: there is no folder")
    assert len(ran.stderr.splitlines()) == 1
