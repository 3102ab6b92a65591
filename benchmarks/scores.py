"""The scores that share one decomposition, all together, beside the authors' LogME alone.

H, regularised H, LogME, TransRate, leave-one-out ridge (accuracy and log-loss for 17 penalties), GBC, NCE,
LEEP and centroid CKA of 10,000 examples with 1,280 features and 100 classes, from float32 features to
numbers, in less time than the authors' LogME takes for the same features in the same run: once of the whole
features and once of features reduced to 768 directions, which gives estimates. The sides run in turn,
several times; the ratio of the medians counts. Then each score by itself beside a plain reference
(its formula with numpy, or scikit-learn, or the authors' code): seconds once the decomposition is there,
the reference's seconds, and the difference of the values.

The authors' file is not part of this repository. Take LogME.py from https://github.com/thuml/LogME (MIT)
and name it; it imports numba (pip install numba), whose time to compile is not counted:

    python benchmarks/scores.py --logme LogME.py
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from common import parser, print_markdown, print_table, read_results, usual, write_results
from threadpoolctl import threadpool_limits

from regraft.scores import SCORES, Examples, Features, ridge

AUTHORS, REDUCED = "authors' LogME", "family, reduced to 768"
FAMILY = ("h", "regularised-h", "logme", "transrate", "gbc", "nce", "leep", "centroid-cka")


def drawn(count: int, width: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features as after a ReLU, classes of unequal size, and a source head of 1,000 classes."""
    random = np.random.default_rng(0)
    labels = np.minimum((classes * random.random(count) ** 1.3).astype(np.int64), classes - 1)
    labels[: 2 * classes] = np.tile(np.arange(classes), 2)
    axes = np.geomspace(1, 0.03, width)
    mixed = random.normal(size=(width, width)) / np.sqrt(width)
    hidden = (random.normal(size=(count, width)) + 0.15 * random.normal(size=(classes, width))[labels]) * axes
    features = np.maximum(hidden @ mixed + 0.2, 0).astype(np.float32)
    logits = features[:, :32] @ random.normal(size=(32, 1000))
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return features, labels, powers / powers.sum(1, keepdims=True)


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds, processor seconds, and what came of it."""
    start, before = time.perf_counter(), time.process_time()
    value = work()
    return time.perf_counter() - start, time.process_time() - before, value


def family(
    features: np.ndarray, labels: np.ndarray, theta: np.ndarray, width: int | None = None
) -> dict[str, float]:
    """Every score of the family, as a person who hands over fresh features gets them; with a ``width`` of
    features reduced to it.
    """
    whole = Features.of(features)
    ready = whole if width is None else whole.reduced(width)
    examples = Examples.of(ready, labels, source_probabilities=theta)
    found = {name: SCORES[name].of(examples) for name in FAMILY}
    head = ridge(examples)
    return {**found, "ridge": head.accuracy, "ridge-log-loss": -head.least_log_loss}


def authors(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("authors_logme", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def references(logme: ModuleType) -> dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], float]]:
    """Each score as its paper's code or its formula computes it, by itself."""
    return {
        "h": plain_h,
        "regularised-h": plain_regularised_h,
        "logme": lambda x, y, _: logme.LogME().fit(x, y),
        "transrate": plain_transrate,
        "gbc": plain_gbc,
        "nce": plain_nce,
        "leep": plain_leep,
        "centroid-cka": plain_cka,
        "ridge": plain_ridge,
    }


def class_means(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.stack([x[y == label].mean(0) for label in np.unique(y)])


def plain_h(x: np.ndarray, y: np.ndarray, _: np.ndarray) -> float:
    x = x.astype(np.float64)
    between = np.cov(class_means(x, y)[y].T)
    return float(np.trace(np.linalg.pinv(np.cov(x.T), rcond=1e-15) @ between))


def plain_regularised_h(x: np.ndarray, y: np.ndarray, _: np.ndarray) -> float:
    from sklearn.covariance import LedoitWolf

    x = x.astype(np.float64)
    x = x - x.mean(0)
    model = LedoitWolf().fit(x)
    between = np.cov(class_means(x, y)[y].T, bias=True)
    return float(np.trace(np.linalg.pinv(model.covariance_) @ ((1 - model.shrinkage_) * between)))


def plain_transrate(x: np.ndarray, y: np.ndarray, _: np.ndarray) -> float:
    x = x.astype(np.float64)
    x = x - x.mean(0)

    def rate(z: np.ndarray) -> float:
        return float(np.linalg.slogdet(np.eye(z.shape[1]) + z.T @ z / (len(z) * 1e-4))[1] / 2)

    return rate(x) - float(np.mean([rate(x[y == label]) for label in np.unique(y)]))


def plain_gbc(x: np.ndarray, y: np.ndarray, _: np.ndarray) -> float:
    x, total = x.astype(np.float64), 0.0
    means = class_means(x, y)
    variances = [max(float(x[y == label].var(0).mean()), 1e-4) for label in np.unique(y)]
    for one in range(len(means)):
        for other in range(len(means)):
            if one != other:
                both = (variances[one] + variances[other]) / 2
                distance = np.square(means[one] - means[other]).sum() / both / 8
                logs = np.log(both) - (np.log(variances[one]) + np.log(variances[other])) / 2
                total += np.exp(-distance - x.shape[1] * logs / 2)
    return -float(total)


def plain_nce(_: np.ndarray, y: np.ndarray, theta: np.ndarray) -> float:
    joint = np.zeros((y.max() + 1, theta.shape[1]))
    for label, said in zip(y, theta.argmax(1), strict=True):
        joint[label, said] += 1 / len(y)
    mass = joint.sum(0)
    return float(sum(p * np.log(p / mass[z]) for row in joint for z, p in enumerate(row) if p > 0))


def plain_leep(_: np.ndarray, y: np.ndarray, theta: np.ndarray) -> float:
    joint = np.stack([theta[y == label].sum(0) / len(y) for label in range(y.max() + 1)])
    expected = theta @ (joint / joint.sum(0)).T
    return float(np.log(expected[np.arange(len(y)), y]).mean())


def plain_cka(x: np.ndarray, y: np.ndarray, _: np.ndarray) -> float:
    x, labels = x.astype(np.float64), np.eye(y.max() + 1)[y]
    x, labels = x - x.mean(0), labels - labels.mean(0)
    norms = np.linalg.norm(x.T @ x) * np.linalg.norm(labels.T @ labels)
    return float(np.square(labels.T @ x).sum() / norms)


def plain_ridge(x: np.ndarray, y: np.ndarray, _: np.ndarray) -> float:
    """scikit-learn's leave-one-out outputs at each of the same 17 penalties, and their hits."""
    from sklearn.linear_model import RidgeCV

    from regraft.scores.ridge import PENALTIES

    x, columns = x.astype(np.float64), np.eye(y.max() + 1)[y]
    unit = float(np.square(x - x.mean(0)).sum() / min(x.shape[1], len(x) - 1))
    # With a scoring of one's own it keeps outputs and not squared errors.
    model = RidgeCV(
        [one * unit for one in PENALTIES],
        store_cv_results=True,
        scoring="neg_mean_squared_error",
        gcv_mode="svd",
    )
    outputs = np.moveaxis(model.fit(x, columns).cv_results_, -1, 0)
    return max(float((one.argmax(1) == y).mean()) for one in outputs)


def measure(given: argparse.Namespace) -> dict[str, Any]:
    count, width, classes, rounds = (600, 64, 8, 1) if given.quick else (10_000, 1280, 100, given.rounds)
    features, labels, theta = drawn(count, width, classes)
    module = authors(given.logme)
    figures: dict[str, Any] = {
        "examples": count,
        "width": width,
        "classes": classes,
        "threads": given.threads,
    }
    small = drawn(300, 40, 5)
    family(*small)
    module.LogME().fit(*small[:2])  # what numba compiles is not counted
    work: dict[str, Callable[[], Any]] = {
        "family": lambda: family(features, labels, theta),
        REDUCED: lambda: family(features, labels, theta, width * 3 // 5),
        AUTHORS: lambda: module.LogME().fit(features, labels),
    }
    sides: dict[str, list[dict[str, float]]] = {name: [] for name in work}
    values = dict[str, Any]()
    with threadpool_limits(given.threads):
        for _ in range(rounds):
            for name, side in work.items():
                seconds, processor, values[name] = timed(side)
                sides[name].append({"seconds": seconds, "processor seconds": processor})
        figures |= {"sides": sides, "values": values["family"], "values, reduced": values[REDUCED]}
        for name, label in (("family", ""), (REDUCED, ", reduced")):
            figures[f"ratio{label}"] = middle(sides[name]) / middle(sides[AUTHORS])
            figures[f"processor ratio{label}"] = middle(sides[name], "processor seconds") / middle(
                sides[AUTHORS], "processor seconds"
            )
        if not given.family_only:
            figures["scores"] = list(each(features, labels, theta, references(module), given))
    return figures


def middle(rounds: list[dict[str, float]], what: str = "seconds") -> float:
    return statistics.median(one[what] for one in rounds)


def each(
    features: np.ndarray,
    labels: np.ndarray,
    theta: np.ndarray,
    plain: dict[str, Any],
    given: argparse.Namespace,
) -> list[dict[str, Any]]:
    ready = Examples.of(features, labels, source_probabilities=theta)
    shared, shared_processor, _ = timed(lambda: (ready.features.decomposition, ready.features.components))
    rows = [{"score": "decomposition", "seconds": shared, "processor seconds": shared_processor}]
    for name, reference in plain.items():
        fresh = Examples.of(ready.features, labels, source_probabilities=theta)
        seconds, processor, value = timed(lambda name=name, fresh=fresh: SCORES[name].of(fresh))
        theirs, their_processor, expected = timed(
            lambda reference=reference: reference(features, labels, theta)
        )
        rows.append(
            {
                "score": name,
                "seconds": seconds,
                "processor seconds": processor,
                "reference seconds": theirs,
                "reference processor seconds": their_processor,
                "value": value,
                "difference": abs(value - expected),
            }
        )
        print(f"{name}: {seconds:.2f} s, reference {theirs:.2f} s, {abs(value - expected):.1e}", flush=True)
    seconds, processor, head = timed(lambda: ridge(ready))
    rows.append(
        {
            "score": "ridge with its log-loss",
            "seconds": seconds,
            "processor seconds": processor,
            "value": head.accuracy,
        }
    )
    return rows


def show(figures: dict[str, Any], markdown: bool = False) -> None:
    table = print_markdown if markdown else print_table
    sides = [
        [
            name,
            f"{middle(rounds):.2f}",
            ", ".join(f"{one['seconds']:.2f}" for one in rounds),
            f"{middle(rounds, 'processor seconds'):.2f}",
        ]
        for name, rounds in figures["sides"].items()
    ]
    table(["side", "seconds, median", "seconds of each round", "processor seconds, median"], sides)
    size = f"{figures['examples']:,} x {figures['width']:,}, {figures['classes']} classes"
    for label in ("", ", reduced"):
        ratio = figures[f"ratio{label}"]
        met = "met" if ratio < 1 else "missed"
        print(
            f"\n{size}, {figures['threads']} threads: the family{label} takes {ratio:.2f} of the time of the "
            f"authors' LogME (aim: below 1, {met}), {figures[f'processor ratio{label}']:.2f} of its "
            "processor time."
        )
    print()
    if "scores" not in figures:
        return
    decomposition = figures["scores"][0]
    rows = []
    for one in figures["scores"]:
        theirs = one.get("reference seconds")
        rows.append(
            [
                one["score"],
                f"{one['seconds']:.2f}",
                "" if theirs is None else f"{theirs:.2f}",
                ""
                if theirs is None
                else f"{theirs / (one['seconds'] + needs(one['score'], decomposition)):.1f}",
                f"{one['value']:.6g}" if "value" in one else "",
                f"{one['difference']:.1e}" if "difference" in one else "",
            ]
        )
    head = ["score", "seconds", "reference, s", "reference / (score + decomposition)", "value"]
    table([*head, "difference"], rows)


def needs(name: str, decomposition: dict[str, float]) -> float:
    return 0.0 if name in ("leep", "nce") else decomposition["seconds"]


def main() -> None:
    options = parser(__doc__, "scores")
    options.add_argument("--logme", type=Path, help="the authors' LogME.py")
    options.add_argument("--rounds", type=int, default=3, help="how often both sides are measured")
    options.add_argument("--threads", type=int, default=2, help="threads of linear algebra, for both sides")
    options.add_argument("--family-only", action="store_true", help="leave out each score by itself")
    usual(options)
    given = options.parse_args()
    if given.markdown:
        show(read_results(given.json), markdown=True)
        return
    if given.logme is None:
        options.error("name the authors' file: --logme LogME.py (https://github.com/thuml/LogME)")
    figures = measure(given)
    show(figures)
    write_results(given.json, figures)


if __name__ == "__main__":
    main()
