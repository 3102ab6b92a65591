"""Link networks of torchvision, timm, transformers and one's own to each other, and prove every link.

Weights are random, batch-norm statistics included. A link counts as proven where regraft says so, after
``fix()`` where it needs one; whether that is true is looked at without regraft: both networks are run on
other inputs and their outputs are compared. A link that regraft calls proven and that differs by more than
1e-5 is silently wrong.

    PYTHONPATH=src .venv-vision/bin/python benchmarks/link_pairs.py               # every pair
    PYTHONPATH=src .venv-vision/bin/python benchmarks/link_pairs.py --only swin   # those with this word
    python benchmarks/link_pairs.py --texts                     # those that need neither timm nor torchvision
"""

from __future__ import annotations

import argparse
import gc
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from common import parser, print_table, write_results
from link_pair_models import (
    Case,
    convolutions_and_windows,
    randomise,
    timm_to_torchvision,
    torchvision_to_timm,
    vision_transformers,
)
from link_pair_texts import folded, packaged, texts
from torch import Tensor, nn

import regraft as rg
from regraft.core.console import set_quiet
from regraft.linking.load import load_link

TOLERANCE = 1e-5


@dataclass
class Outcome:
    """What came of one pair.

    Attributes
    ----------
    before, after
        The difference of the outputs, measured here: as linked, and after ``fix()``.
    verdict
        ``proven``, ``proven after fix``, ``refused`` or ``not proven``.
    wrong
        True where regraft says proven and the outputs differ.
    """

    pair: str
    expected: str
    rules: str = ""
    coverage: float = 0.0
    before: float | None = None
    after: float | None = None
    verdict: str = ""
    why: str = ""
    said: float | None = None
    resampling: float | None = None
    finding: float = 0.0
    verifying: float = 0.0
    wrong: bool = False

    @property
    def met(self) -> bool:
        """Whether it came out as the two networks allow."""
        wanted = {
            "proven": ("proven",),
            "fixed": ("proven after fix",),
            "refused": ("refused", "not proven"),
        }
        return not self.wrong and self.verdict in wanted[self.expected]


def measure(case: Case, *, seed: int = 0) -> Outcome:
    """Link, prove, mend, and compare without regraft."""
    outcome = Outcome(case.name, case.expected)
    generator = torch.Generator().manual_seed(seed)
    source, truth = _open(case, seed)
    given, other = case.inputs(generator), case.inputs(generator)
    start = time.perf_counter()
    try:
        link = rg.link(source, case.target, inputs=given)
        outcome.finding = time.perf_counter() - start
        outcome.rules, outcome.coverage = _rules(link), link.coverage.parameters
        link = link.require(0.95)
    except rg.RegraftError as error:
        outcome.verdict, outcome.why = "refused", _first_lines(error)
        return outcome
    outcome.before = _difference(case, truth, link, other)
    outcome.resampling = _resampling(case, truth, link)
    start = time.perf_counter()
    _judge(outcome, case, link, given, truth, other)
    outcome.verifying = time.perf_counter() - start
    return outcome


def _open(case: Case, seed: int) -> tuple[Any, nn.Module]:
    if case.reference is not None:
        return case.source, case.reference().eval()
    assert callable(case.source)
    torch.manual_seed(seed)
    built = randomise(case.source(), seed)
    return built, built


def _judge(outcome: Outcome, case: Case, link: Any, given: Any, truth: nn.Module, other: Any) -> None:
    """Prove, and where that fails mend and prove again."""
    proof = link.verify(given)
    outcome.said, outcome.why = proof.max_relative_difference, proof.sentence
    missing = [word for word in case.names if word not in proof.sentence]
    if missing:
        outcome.why += f" (NOT NAMED: {', '.join(missing)})"
    if proof.proven:
        outcome.verdict, outcome.why = "proven", proof.sentence
        outcome.wrong = not _agrees(outcome.before)
        return
    outcome.verdict = "not proven"
    mended = link.fix(given)
    if mended is link:
        return
    again = mended.verify(given)
    outcome.after = _difference(case, truth, mended, other)
    if again.proven:
        outcome.verdict, outcome.said = "proven after fix", again.max_relative_difference
        outcome.wrong = not _agrees(outcome.after)


def _agrees(difference: float | None) -> bool:
    return difference is not None and difference <= TOLERANCE


def _difference(case: Case, truth: nn.Module, link: Any, given: Any) -> float:
    """The largest difference of what both give, over the source's largest value, without regraft."""
    model = load_link(link)
    with torch.no_grad():
        theirs = case.reads_source(truth(given)).double()
        ours = case.reads_target(model.eval()(given)).double()
    if ours.shape != theirs.shape:
        return math.inf
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def _resampling(case: Case, truth: nn.Module, link: Any) -> float | None:
    """How far a resampled table is from what the other library makes of it."""
    if case.resampled is None:
        return None
    name, make = case.resampled
    with torch.no_grad():
        theirs = make(truth.state_dict())
    ours: Tensor = load_link(link).state_dict()[name]
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def _rules(link: Any) -> str:
    """The rules of the rows that carry, the most frequent first."""
    counts = Counter(row.rule.split(",")[0].split(" '")[0] for row in link.rows if row.carried)
    return ", ".join(f"{rule} {count}" for rule, count in counts.most_common(3))


def _first_lines(error: Exception) -> str:
    return " ".join(str(error).split("\n")[:2])[:200]


def every_case(*, only: str = "", texts_only: bool = False) -> list[Case]:
    """The pairs whose name holds ``only``, or one of several words with commas between them."""
    cases = [*texts(), *folded()]
    if not texts_only:
        cases = [
            *torchvision_to_timm(),
            *vision_transformers(),
            *convolutions_and_windows(),
            *cases,
            *packaged(),
            *timm_to_torchvision(),
        ]
    words = only.lower().split(",")
    return [case for case in cases if any(word in case.name.lower() for word in words)]


def _line(outcome: Outcome) -> list[object]:
    return [
        outcome.pair,
        outcome.rules,
        f"{outcome.coverage:.1%}",
        _number(outcome.before),
        _number(outcome.after),
        ("SILENTLY WRONG: " if outcome.wrong else "") + outcome.verdict,
        "" if outcome.met else f"expected {outcome.expected}",
        round(outcome.finding, 1),
        round(outcome.verifying, 1),
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def to_json(outcome: Outcome) -> Mapping[str, Any]:
    """Plain JSON; a difference that is not finite is a text."""
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(outcome).items()
    } | {"as_expected": outcome.met}


def report(outcomes: Sequence[Outcome]) -> None:
    """The table, then why for all that is not plainly proven."""
    columns = ["pair", "rules (rows)", "covered", "as linked", "fixed", "verdict", "", "find, s", "verify, s"]
    print_table(columns, [_line(outcome) for outcome in outcomes])
    for outcome in outcomes:
        if outcome.verdict != "proven":
            print(f"\n{outcome.pair}: {outcome.verdict}: {outcome.why}")
        if outcome.resampling is not None:
            print(f"\n{outcome.pair}: position table against timm's own resampling {outcome.resampling:.1e}")
    print(
        "\n"
        + ", ".join(f"{count} {verdict}" for verdict, count in Counter(o.verdict for o in outcomes).items())
    )
    print(f"{sum(outcome.wrong for outcome in outcomes)} silently wrong")


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    set_quiet(True)
    outcomes = []
    for case in every_case(only=options.only, texts_only=options.texts):
        outcomes.append(measure(case))
        print(f"{case.name}: {outcomes[-1].verdict}", flush=True)
        gc.collect()
    report(outcomes)
    write_results(options.json, {"pairs": [to_json(outcome) for outcome in outcomes]})


def _options() -> argparse.Namespace:
    made = parser(__doc__, "link_pairs")
    made.add_argument("--only", default="", help="pairs whose name holds this")
    made.add_argument("--texts", action="store_true", help="pairs that need neither timm nor torchvision")
    return made.parse_args()


if __name__ == "__main__":
    main()
