"""Folders of runs as the engine and evidence leave them, one of each kind that the report copes with."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_diabetes, load_digits

from tests.report.boards import board_json, curve_json
from tests.report.closer_looks import (
    FINDING,
    NEAR,
    calibration_json,
    choice_json,
    selection_json,
    slices_json,
    without_json,
)

Json = dict[str, Any]
EVIL = '<img src="https://evil.example/x.png" onerror="alert(1)"><script>alert(2)</script>'
EVIL_MARKDOWN = "[press](https://evil.example) | `rm` <b>bold</b>\n# heading ![x](https://evil.example/y.png)"
PLAN = """\
version: 1
strategy: lpft
models:
  student: {source: 'packaged:efficientnet-lite0', options: {size: 96}}
streams:
  target: {reads: target, part: train}
stages:
- {name: probe, kind: solve, solver: ridge, refit: true, options: {grid: 25}}
- name: tune
  kind: train
  terms:
  - {computes: task, streams: [target]}
  trainable: [blocks.14, blocks.15, head]
  frozen_prefix: blocks.13
  groups:
  - {match: [head], rate: 0.003}
  - {match: ['*'], rate: 0.0003}
  stop: {epochs: 20, patience: 4}
"""


def thumbnail(pixels: np.ndarray) -> str:
    """An 8 x 8 digit as the data URI of a JPEG."""
    image = Image.fromarray((255 - pixels * 15.9).astype(np.uint8)).resize((96, 96), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


@pytest.fixture(scope="session")
def digits() -> tuple[list[str], np.ndarray]:
    """Thumbnails and labels of the first 120 digits."""
    data = load_digits()
    return [thumbnail(image) for image in data.images[:120]], data.target[:120]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a run's folder: values by file name without its ending, texts as they are."""

    def written(name: str = "run", **files: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        endings = {"history": ".jsonl", "plan": ".yaml", "unreadable": ".csv", "near_duplicates": ".csv"}
        for stem, value in files.items():
            text = "\n".join(map(json.dumps, value)) if stem == "history" else value
            text = text if isinstance(text, str) else json.dumps(value)
            (folder / f"{stem}{endings.get(stem, '.json')}").write_text(text, encoding="utf-8")
        return folder

    return written


def run_json(**changes: Any) -> Json:
    run = {
        "format": 1,
        "regraft": "0.1.0",
        "command": ["regraft", "fit", "solar cells/", "--out", "runs/solar", "--strategy", "lpft"],
        "created": "2026-11-22T02:31:50+00:00",
        "status": "done",
        "seed": 0,
        "backend": "openvino",
        "device": "cpu",
        "threads": 2,
        "versions": {"python": "3.11.2", "torch": "2.13.0", "openvino": "2026.3.0"},
        "hashes": {"data": "5e" * 32, "weights": "a1" * 32, "plan": "c0" * 32},
        "source": {
            "name": "packaged:efficientnet-lite0",
            "modality": "image",
            "parameters": 3_371_024,
            "licence": "Apache-2.0",
            "cite": "Tan and Le 2019, EfficientNet: rethinking model scaling for convolutional networks",
            "sha256": "a1" * 32,
        },
        "strategy": "lpft",
        "seconds": {"read": 4.2, "features": 16.9, "stages": {"probe": 1.4, "tune": 61.0}, "total": 86.0},
        "trained_parameters": 720_002,
        "total_parameters": 3_373_586,
        "test_label_reads": 2,
        "outcome": "lpft reaches 83.6% accuracy on 524 test examples.",
        "notes": [],
    }
    return run | changes


def target_json(task: Json, counts: Json, preview: list[Json], **changes: Any) -> Json:
    target = {
        "modality": "image",
        "origin": {"kind": "images", "path": "data/solar-cells"},
        "tasks": [task],
        "count": 2624,
        "counts": {task["name"]: counts},
        "parts": {"pool": 2100, "train": 240, "validation": 60, "test": 524},
        "notes": ["One task was found: label has two classes.", "69% of the labels are 'sound'."],
        "fingerprint": "5e" * 32,
        "unreadable": 0,
        "splits": {"test": ["ab12cd34ef56ab12"]},
        "preview": preview,
    }
    return target | changes


def link_json() -> Json:
    rows = []
    for block in range(16):
        for part, shape in (("conv.weight", [96, 16, 3, 3]), ("bn.weight", [96]), ("bn.bias", [96])):
            name = f"blocks.{block}.{part}"
            row = {"target": f"trunk.network.{name}", "source": name, "rule": "equal names"}
            row |= {"transform": "identity", "target_shape": shape, "source_shape": shape}
            rows.append(row | {"action": "copied", "role": "shared", "confidence": 1.0, "alternatives": []})
    stem = {"target": "trunk.network.stem.weight", "source": "stem.weight", "rule": "equal names"}
    stem |= {"transform": "sum over channels", "target_shape": [32, 1, 3, 3], "source_shape": [32, 3, 3, 3]}
    rows.insert(0, stem | {"action": "adapted", "role": "shared", "confidence": 0.9, "alternatives": []})
    for name, shape in (("weight", [2, 1280]), ("bias", [2])):
        head = {"target": f"heads.output_label.{name}", "source": None, "rule": None, "transform": None}
        head |= {"target_shape": shape, "source_shape": None, "action": "fresh", "role": "specific"}
        rows.append(head | {"confidence": None, "alternatives": []})
    coverage = {"tensors": 1.0, "parameters": 0.9994, "depth": 1.0}
    unused = ["classifier.weight", "classifier.bias"]
    student = {"source": "packaged:efficientnet-lite0", "coverage": coverage, "rows": rows, "unused": unused}
    student |= {"target": "packaged:efficientnet-lite0", "outline": outline_json(rows, unused)}
    student["source_mass"] = {"parameters": 4_652_008, "unused": 1_281_000, "share": 0.2754}
    return {"models": {"student": student}}


def outline_json(rows: list[Json], unused: list[str]) -> Json:
    """Blocks of both sides as a link describes them: the first two parts of each name."""
    source: dict[str, Json] = {}
    target: dict[str, Json] = {}
    joins: dict[tuple[int, int], Json] = {}
    names = [row["source"] for row in rows if row["source"]] + unused
    for name in names:
        block = source.setdefault(
            block_name(name), {"block": block_name(name), "rows": [], "unused_names": []}
        )
        for key in ("tensors", "parameters", "unused", "unused_parameters"):
            block[key] = block.get(key, 0) + (key in ("tensors", "parameters") or name in unused)
        block["unused_names"] += [unused.index(name)] if name in unused else []
    for place, row in enumerate(rows):
        name = block_name(row["target"].removeprefix("trunk.network."))
        block = target.setdefault(name, {"block": name, "rows": []})
        for key in ("tensors", "parameters", "copied", "adapted", "fresh"):
            block[key] = block.get(key, 0) + (key in ("tensors", "parameters", row["action"]))
        block["rows"].append(place)
        if row["source"]:
            given = block_name(row["source"])
            source[given]["rows"].append(place)
            pair = (list(source).index(given), list(target).index(name))
            join = joins.setdefault(pair, {"source": pair[0], "target": pair[1], "copied": 0, "adapted": 0})
            join[row["action"]] += 1
    sides = {"source": list(source.values()), "target": list(target.values())}
    return {**sides, "links": list(joins.values())}


def block_name(name: str) -> str:
    """``blocks.3`` of ``blocks.3.conv.weight``, ``stem`` of ``stem.weight``."""
    if name.startswith("heads.output_"):
        return "head label"
    parts = name.split(".")[:-1]
    return ".".join(parts[:2] if len(parts) > 1 and parts[1].isdigit() else parts[:1])


def chain_link(depth: int) -> Json:
    """A link of two chains that call their blocks differently, with an adapted stem and a fresh head."""
    pairs = [("stem.weight", "stem.weight", "adapted")]
    pairs += [(f"layer.{i}.weight", f"blocks.{i}.weight", "copied") for i in range(depth)]
    rows: list[Json] = []
    for source, target, action in pairs:
        row = {"target": f"trunk.network.{target}", "source": source, "rule": "by structure", "transform": ""}
        row |= {"target_shape": [8], "source_shape": [8], "action": action, "role": "shared"}
        rows.append(row | {"confidence": 0.9, "alternatives": [], "conflict": False, "recipe": None})
    head = {"target": "heads.output_label.weight", "source": None, "rule": "new head", "transform": ""}
    head |= {"target_shape": [2], "source_shape": None, "action": "fresh", "role": "specific"}
    rows.append(head | {"confidence": 0.0, "alternatives": [], "conflict": False, "recipe": None})
    unused = ["classifier.weight"]
    link = {"source": "old.safetensors", "target": "mymodels:build", "rows": rows, "unused": unused}
    link |= {"coverage": {"tensors": 1.0, "parameters": 1.0, "depth": 1.0}}
    link |= {"source_mass": {"parameters": 100, "unused": 10, "share": 0.1}}
    return link | {"outline": outline_json(rows, unused)}


def history_jsonl(metric: str = "accuracy") -> list[Json]:
    grid = np.logspace(-4, 4, 25)
    scores = 0.81 - 0.006 * (np.log10(grid) - 0.5) ** 2
    rising = metric != "RMSE"
    solve = {"stage": "probe", "kind": "solve", "solver": "ridge", "metric": metric, "seconds": 1.4}
    solve |= {"grid": grid.tolist(), "scores": (scores if rising else 90 - 40 * scores).tolist()}
    history = [solve | {"chosen": float(grid[np.argmax(scores)])}]
    noise = np.random.default_rng(0).normal(size=600)
    for step in range(600):
        loss = 0.2 + 0.5 * np.exp(-step / 150) + 0.03 * noise[step]
        entry = {"stage": "tune", "kind": "train", "step": step, "epoch": step // 30, "loss": loss}
        entry |= {"rate": 0.003, "seconds": 0.1 * step}
        if step % 30 == 29:
            score = 0.84 - 0.08 * np.exp(-step / 120) + 0.002 * noise[step]
            value = score if rising else 90 - 40 * score
            entry["validation"] = {"loss": 0.38 + 0.2 * np.exp(-step / 120) + 1e-4 * step, metric: value}
        history.append(entry)
    return history


def metric(value: float, half: float, *, higher: bool = True, percent: bool = True) -> Json:
    entry = {"value": value, "low": value - half, "high": value + half}
    return entry | {"higher_is_better": higher, "percent": percent}


def output_json(task: str, classes: list[str], confusion: list[list[int]] | None, **changes: Any) -> Json:
    count = sum(map(sum, confusion)) if confusion else 400
    right = sum(row[index] for index, row in enumerate(confusion)) / count if confusion else 0.8
    output = {
        "task": task,
        "classes": classes,
        "count": count,
        "missing": 0,
        "deciding": "accuracy",
        "metrics": {
            "accuracy": metric(right, 0.031),
            "balanced accuracy": metric(right - 0.024, 0.036),
            "macro F1": metric(right - 0.019, 0.034),
            "ROC-AUC": metric(min(0.97, right + 0.05), 0.02),
        },
        "confusion": confusion,
        "per_class": {
            name: {
                "precision": 0.8 + 0.1 * np.cos(i),
                "recall": 0.8 + 0.1 * np.sin(i),
                "f1": 0.8 + 0.1 * np.sin(i + 1),
                "count": 40,
                "intervals": {"precision": [0.6, 0.95], "recall": None, "f1": [0.62, 0.96]},
            }
            for i, name in enumerate(classes)
        },
        "residuals": None,
        "worst": [],
    }
    return output | changes


def evidence_json(**changes: Any) -> Json:
    rng = np.random.default_rng(3)
    arms = []
    for name, kind, source, mean, spread in (
        ("lpft", "strategy", True, 0.836, 0.010),
        ("probe", "probe", True, 0.806, 0.008),
        ("SVM on 32 x 32 pixels", "baseline", False, 0.781, 0.007),
        ("small network from scratch", "scratch", False, 0.742, 0.018),
    ):
        test = mean + spread * rng.normal(size=8)
        middle = float(test.mean())
        arm = {"name": name, "kind": kind, "uses_source": source, "validation": test.tolist()}
        arm |= {"test": test.tolist(), "mean": middle, "low": middle - spread, "high": middle + spread}
        note = "" if kind != "scratch" else "a smaller network than the source's, at 64 pixels"
        arms.append(arm | {"seconds": 12.5 * (len(arms) + 1), "trained_parameters": 2562, "note": note})
    contrasts = []
    for against, verdict, p in ((2, "HELPED", 0.0078), (3, "HELPED", 0.0078), (1, "INCONCLUSIVE", 0.055)):
        differences = np.subtract(arms[0]["test"], arms[against]["test"])
        mean, half = float(differences.mean()), float(2.36 * differences.std(ddof=1) / 8**0.5)
        row = {"arm": "lpft", "against": arms[against]["name"], "differences": differences.tolist()}
        row |= {"mean": mean, "low": mean - half, "high": mean + half, "p": p, "p_holm": min(1, 3 * p)}
        contrasts.append(row | {"verdict": verdict})
    evidence = {
        "verdict": "HELPED",
        "sentence": "The source helped: lpft is 4.8 points of accuracy above SVM on 32 x 32 pixels, the best "
        "arm without a source (interval 3.7 to 6.0, 8 paired seeds).",
        "delta": 0.005,
        "output": "label",
        "metric": {"name": "accuracy", "higher_is_better": True, "percent": True},
        "seeds": list(range(8)),
        "strategy_arm": "lpft",
        "reference": "SVM on 32 x 32 pixels",
        "null": "lpft is as accurate as the best arm without a source",
        "budget_seconds": 1200,
        "predicted_seconds": 640,
        "spent_seconds": 701.5,
        "cut": ["scratch ran at 64 pixels instead of 224", "2 of 6 settings were tried for scratch"],
        "labels": 300,
        "arms": arms,
        "contrasts": contrasts,
    }
    return evidence | changes


def examples(digits: tuple[list[str], np.ndarray], labels: list[str], count: int) -> list[Json]:
    pictures, numbers = digits
    return [
        {
            "item": f"photos/cell-{i:04d}.jpg",
            "label": labels[int(numbers[i]) % len(labels)],
            "thumbnail": pictures[i],
            "text": None,
        }
        for i in range(count)
    ]


def wrong(digits: tuple[list[str], np.ndarray], labels: list[str], count: int) -> list[Json]:
    shown = examples(digits, labels, count)
    others = [labels[(labels.index(entry["label"]) + 1) % len(labels)] for entry in shown]
    return [
        entry | {"predicted": other, "confidence": 0.99 - 0.02 * i}
        for i, (entry, other) in enumerate(zip(shown, others, strict=True))
    ]


Files = dict[str, Any]


def proven(digits: tuple[list[str], np.ndarray]) -> Files:
    classes = ["sound", "defective"]
    output = output_json(
        "binary",
        classes,
        [[330, 29], [57, 108]],
        worst=wrong(digits, classes, 8),
        calibration=calibration_json(),
        slices=slices_json(),
        without_near_duplicates=without_json(),
    )
    return {
        "run": run_json(choice=choice_json(), selection=selection_json(), findings=[FINDING]),
        "target": target_json(
            {"name": "label", "kind": "binary", "classes": classes},
            {"sound": 1437, "defective": 663},
            examples(digits, classes, 12),
            unreadable=3,
        ),
        "link": link_json(),
        "history": history_jsonl(),
        "metrics": {"part": "test", "count": 524, "outputs": {"label": output}},
        "evidence": evidence_json(curve=curve_json()),
        "ranking": board_json(),
        "near_duplicates": NEAR,
        "plan": PLAN,
        "unreadable": "item,reason\na.jpg,truncated file\nb.jpg,truncated file\nc.jpg,empty file\n",
    }


def many_digits(digits: tuple[list[str], np.ndarray]) -> Files:
    classes = [str(digit) for digit in range(10)]
    rng = np.random.default_rng(1)
    confusion = (rng.poisson(0.8, size=(10, 10)) + np.diag(rng.integers(28, 36, size=10))).tolist()
    files = proven(digits)
    task = {"name": "digit", "kind": "multiclass", "classes": classes}
    counts = {name: 128 + int(name) for name in classes}
    origin = {"kind": "arrays", "path": "digits"}
    files["target"] = target_json(task, counts, examples(digits, classes, 10), origin=origin)
    output = output_json("multiclass", classes, confusion, worst=wrong(digits, classes, 12))
    files["metrics"] = {"part": "test", "count": 360, "outputs": {"digit": output}}
    sentence = "The source harmed: the SVM on raw pixels is 7.2 points better than the probe."
    files["evidence"] = evidence_json(verdict="HARMED", sentence=sentence, output="digit")
    return files


def sixty(digits: tuple[list[str], np.ndarray]) -> Files:
    classes = [f"species {index:02d}" for index in range(60)]
    rng = np.random.default_rng(2)
    confusion = (rng.poisson(0.15, size=(60, 60)) + np.diag(rng.integers(8, 20, size=60))).tolist()
    files = proven(digits)
    task = {"name": "species", "kind": "multiclass", "classes": classes}
    counts = {name: int(n) for name, n in zip(classes, rng.integers(5, 90, size=60), strict=True)}
    files["target"] = target_json(task, counts, examples(digits, classes, 16))
    output = output_json("multiclass", classes, confusion, worst=wrong(digits, classes, 4))
    files["metrics"] = {"part": "test", "count": 1000, "outputs": {"species": output}}
    del files["evidence"]
    return files


def regression(digits: tuple[list[str], np.ndarray]) -> Files:
    labels = load_diabetes().target[:300]
    values = labels.mean() + 0.6 * (labels - labels.mean()) + np.random.default_rng(0).normal(0, 30, 300)
    output = output_json(
        "regression",
        [],
        None,
        count=300,
        deciding="RMSE",
        metrics={
            "RMSE": metric(44.87, 3.3, higher=False, percent=False),
            "MAE": metric(36.1, 2.9, higher=False, percent=False),
            "R2": metric(0.661, 0.05, percent=False),
        },
        per_class=None,
        residuals={"labels": labels.tolist(), "values": values.tolist()},
        worst=[
            entry | {"label": 310.0 - i, "predicted": 92.125 + i, "confidence": None}
            for i, entry in enumerate(examples(digits, ["x"], 4))
        ],
    )
    name = {"name": "RMSE", "higher_is_better": False, "percent": False}
    arms = evidence_json()["arms"]
    for arm in arms:
        for key in ("mean", "low", "high"):
            arm[key] = 120 - 90 * arm[key]
        arm["low"], arm["high"] = arm["high"], arm["low"]
        arm["test"] = [120 - 90 * value for value in arm["test"]]
    contrast = {"arm": "lpft", "against": arms[2]["name"], "differences": [-5.1, 3.2, -1.0, 0.4]}
    contrast |= {"mean": -0.63, "low": -5.7, "high": 4.4, "p": 0.7, "p_holm": 0.7, "verdict": "INCONCLUSIVE"}
    files = proven(digits)
    task = {"name": "progression", "kind": "regression", "classes": []}
    counts = {"mean": 152.13, "std": 77.0, "min": 25.0, "max": 346.0}
    preview = [entry | {"label": 151.5 + i} for i, entry in enumerate(examples(digits, ["x"], 6))]
    files["target"] = target_json(task, counts, preview)
    files["metrics"] = {"part": "test", "count": 300, "outputs": {"progression": output}}
    files["history"] = history_jsonl("RMSE")
    files["evidence"] = evidence_json(
        verdict="INCONCLUSIVE",
        sentence="Neither can be said: lpft and the SVM differ by 0.63 in RMSE, less than can be told apart.",
        metric=name,
        delta=0.5,
        arms=arms,
        contrasts=[contrast],
    )
    return files


def multilabel(digits: tuple[list[str], np.ndarray]) -> Files:
    classes = ["even", "round", "straight", "has a hole"]
    several = [entry | {"label": classes[:2]} for entry in examples(digits, classes, 6)]
    worst = [entry | {"predicted": classes[1:], "confidence": 0.9} for entry in several[:3]]
    output = output_json(
        "multilabel", classes, None, deciding="mean average precision", worst=worst, missing=7
    )
    output["metrics"] = {"mean average precision": metric(0.87, 0.02), "macro F1": metric(0.81, 0.03)}
    second = output_json("binary", ["no", "yes"], [[200, 12], [9, 179]])
    target = target_json(
        {"name": "features", "kind": "multilabel", "classes": classes},
        dict(zip(classes, (510, 620, 330, 401), strict=True)),
        several,
    )
    target["tasks"].append({"name": "legible", "kind": "binary", "classes": ["no", "yes"]})
    target["counts"]["legible"] = {"no": 530, "yes": 470}
    files = proven(digits) | {"target": target}
    files["metrics"] = {"part": "test", "count": 400, "outputs": {"features": output, "legible": second}}
    files["evidence"] = evidence_json(verdict="EQUIVALENT", sentence="With and without the source are equal.")
    return files


def texts(digits: tuple[list[str], np.ndarray]) -> Files:
    classes = ["admin", "editors", "games", "science"]
    said = "A small editor for plain text with syntax colours, several buffers and a spell checker. " * 8
    preview = [
        {"item": f"row {i}", "label": classes[i % 4], "thumbnail": None, "text": said[: 90 + 130 * i]}
        for i in range(6)
    ]
    worst = [entry | {"predicted": "games", "confidence": 0.93} for entry in preview[:3]]
    confusion = [[200, 9, 2, 4], [12, 170, 20, 3], [1, 2, 240, 9], [3, 5, 8, 190]]
    files = proven(digits)
    files["run"] = run_json(
        command=["regraft", "fit", "packages.csv", "--label", "section", "--out", "runs/packages"],
        source=run_json()["source"] | {"name": "packaged:minilm", "modality": "text"},
    )
    task = {"name": "section", "kind": "multiclass", "classes": classes}
    counts = dict(zip(classes, (900, 810, 1003, 822), strict=True))
    files["target"] = target_json(
        task, counts, preview, modality="text", origin={"kind": "table", "path": "data/packages.csv"}
    )
    output = output_json("multiclass", classes, confusion, worst=worst)
    files["metrics"] = {"part": "test", "count": 878, "outputs": {"section": output}}
    return files


def unfinished(digits: tuple[list[str], np.ndarray]) -> Files:
    files = proven(digits)
    run = run_json(status="interrupted", outcome="Stopped at step 412 of 600.")
    for key in ("seconds", "trained_parameters", "total_parameters", "test_label_reads"):
        del run[key]
    return {"run": run, "target": files["target"], "history": files["history"][:413], "plan": PLAN}


def hostile(digits: tuple[list[str], np.ndarray]) -> Files:
    classes = [EVIL, EVIL_MARKDOWN, "</style></title><svg onload=alert(3)>"]
    shown = [
        {"item": EVIL, "label": EVIL, "thumbnail": "javascript:alert(4)", "text": EVIL},
        {"item": EVIL_MARKDOWN, "label": classes[1], "thumbnail": "https://evil.example/t.png", "text": None},
        {
            "item": "x",
            "label": "y",
            "thumbnail": 'data:image/svg+xml;base64,PHN2Zz4=" onload="x',
            "text": None,
        },
    ]
    worst = [entry | {"predicted": EVIL, "confidence": 0.9} for entry in shown]
    output = output_json("multiclass", classes, [[9, 1, 2], [3, 9, 1], [0, 0, 9]], worst=worst)
    files = proven(digits)
    files["target"] = target_json(
        {"name": EVIL, "kind": "multiclass", "classes": classes},
        dict.fromkeys(classes, 10),
        shown,
        notes=[EVIL, EVIL_MARKDOWN],
        origin={"kind": "images", "path": EVIL},
    )
    files["run"] = run_json(command=["regraft", "fit", EVIL], outcome=EVIL, notes=[EVIL])
    files["run"]["choice"] = choice_json(sentence=EVIL, skipped=[EVIL])
    files["run"]["findings"] = [FINDING | {"kind": EVIL, "sentence": EVIL, "advice": EVIL}]
    files["near_duplicates"] = NEAR + "<script>alert(7)</script>,pool,<b>x</b>,test,1,no\n"
    files["run"]["source"]["cite"] = EVIL_MARKDOWN
    files["metrics"] = {"part": "test", "count": 34, "outputs": {EVIL: output}}
    files["evidence"] = evidence_json(sentence=EVIL, reference=EVIL_MARKDOWN, curve=curve_json())
    files["evidence"]["curve"]["arms"][0]["name"] = files["ranking"]["rows"][0]["name"] = EVIL
    files["evidence"]["arms"][0] |= {"name": EVIL, "note": EVIL}
    files["plan"] = PLAN + f"# {EVIL}\n"
    files["unreadable"] = 'item,reason\n"<script>alert(5)</script>","<script>alert(6)</script>"\n'
    return files


def long_names(digits: tuple[list[str], np.ndarray]) -> Files:
    classes = [f"{word}_{'and_more_of_it_without_any_space_' * 4}" for word in ("alpha", "beta", "gamma")]
    shown = [entry | {"item": "folder/" * 30 + "name.jpg"} for entry in examples(digits, classes, 6)]
    worst = [entry | {"predicted": classes[0], "confidence": 0.7} for entry in shown[:2]]
    files = proven(digits)
    files["target"] = target_json(
        {"name": "a_label_column_with_a_long_name_" * 3, "kind": "multiclass", "classes": classes},
        dict.fromkeys(classes, 1_234_567),
        shown,
        notes=["A note " * 80],
        origin={"kind": "images", "path": "data/" + "a-very-long-folder-name-" * 6},
    )
    output = output_json("multiclass", classes, [[9, 1, 2], [3, 9, 1], [0, 0, 9]], worst=worst)
    files["metrics"] = {"part": "test", "count": 34, "outputs": {"a_label_column_" * 5: output}}
    files["ranking"] = board_json(40)
    for arm in [*files["evidence"]["arms"], *files["evidence"]["curve"]["arms"], *files["ranking"]["rows"]]:
        arm["name"] += " with every option spelled out as long as it can be spelled out"
    return files


KINDS = {
    "proven": proven,
    "digits": many_digits,
    "sixty": sixty,
    "regression": regression,
    "multilabel": multilabel,
    "texts": texts,
    "unfinished": unfinished,
    "hostile": hostile,
    "long": long_names,
}


@pytest.fixture
def make(write: Callable[..., Path], digits: tuple[list[str], np.ndarray]) -> Callable[..., Path]:
    """Write the folder of one of the ``KINDS``; keywords replace whole files, None leaves one out."""

    def made(kind: str, **changes: Any) -> Path:
        files = KINDS[kind](digits) | changes
        return write(kind, **{name: value for name, value in files.items() if value is not None})

    return made


@pytest.fixture(params=sorted(KINDS))
def any_folder(request: pytest.FixtureRequest, make: Callable[..., Path]) -> Path:
    """Each of the folders in turn."""
    return make(request.param)
