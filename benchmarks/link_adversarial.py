"""Make linking hard in every way that comes to mind, and count how often regraft is silently wrong.

Sources are small networks, altered: other names, other order, tensors missing, doubled, swapped, transposed
or broken, other sizes. Each is linked to the unaltered network twice: with the source's network at hand, and
from its checkpoint alone.

Every outcome is looked at without regraft's own proof:

- *proven* is wrong where both networks, run here on other inputs, differ by more than 1e-5, where the same
  link carries other random weights to other outputs, and always without the source's network;
- *refused* and *loaded* are wrong where a tensor of the loaded model that holds no values of the source is
  not named in the error, or in what ``load()`` says; a constant in place of a tensor that the source has
  under the same name counts as such.

    python benchmarks/link_adversarial.py             # every case
    python benchmarks/link_adversarial.py --short     # one in 40
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import fnmatch
import io
import itertools
import math
import random
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from common import parser, print_table, write_results
from link_alterations import ALTERATIONS, SIZES, Alteration, Altered
from link_networks import ARCHITECTURES, Architecture
from link_pair_models import first_tensor, randomise
from torch import Tensor, nn

import regraft as rg
from regraft.core.console import progress
from regraft.linking.load import load_link
from regraft.linking.origin import Origin

TOLERANCE = 1e-5
SIDES = ("network", "checkpoint")
OUTCOMES = (
    "proven",
    "proven after fix",
    "proven up to a new head",
    "not proven",
    "refused",
    "SILENTLY WRONG",
    "CRASHED",
)


@dataclass
class Outcome:
    """What came of one case.

    Attributes
    ----------
    side
        ``network`` or ``checkpoint``: whether regraft was given the source's network.
    difference
        Of the outputs, measured here; None where the source has no network of its own weights.
    why
        What is wrong, or regraft's own reason.
    """

    architecture: str
    alteration: str
    side: str
    seed: int
    linkable: bool
    outcome: str = ""
    difference: float | None = None
    why: str = ""

    @property
    def wrong(self) -> bool:
        """Whether it is one of those that must not be."""
        return self.outcome in ("SILENTLY WRONG", "CRASHED")


@dataclass(frozen=True)
class Case:
    """One alteration of one architecture, with or without the source's network."""

    architecture: Architecture
    alteration: Alteration
    side: str
    seed: int


def every_case(seeds: int) -> list[Case]:
    """All of them, in an order in which each part is a fair sample."""
    cases = [
        Case(architecture, alteration, side, seed)
        for seed, architecture, alteration, side in itertools.product(
            range(seeds), ARCHITECTURES, ALTERATIONS, SIDES
        )
    ]
    random.Random(0).shuffle(cases)
    return cases


def run(case: Case) -> Outcome | None:
    """Alter, link and judge; None where the architecture has nothing to alter."""
    key = f"{case.architecture.name} {case.alteration.name} {case.seed}"
    chance = random.Random(key)
    torch.manual_seed(chance.randrange(1 << 30))
    altered = case.alteration.make(case.architecture, chance)
    if altered is None:
        return None
    outcome = Outcome(
        case.architecture.name, case.alteration.name, case.side, case.seed, case.alteration.linkable
    )
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            _Judge(case, altered, outcome, Path(folder)).judge()
        except rg.RegraftError as error:
            # Refused before there was a link: nothing can have been loaded.
            outcome.outcome, outcome.why = "refused", _line(error)
        except Exception as error:  # noqa: BLE001 - whatever else is raised is what this looks for
            outcome.outcome, outcome.why = "CRASHED", f"{type(error).__name__}: {_line(error)}"
    return outcome


class _Judge:
    """Links one case and says what came of it."""

    def __init__(self, case: Case, altered: Altered, outcome: Outcome, folder: Path):
        self.case = case
        self.altered = altered
        self.outcome = outcome
        self.folder = folder
        generator = torch.Generator().manual_seed(case.seed)
        self.given = case.architecture.inputs(generator)
        self.other = case.architecture.inputs(generator)
        self.tensors = altered.network.state_dict() if altered.tensors is None else altered.tensors
        self.beheaded = False  # compare what enters the heads

    def judge(self) -> None:
        """Fill in the outcome."""
        link = self._link()
        complaint = self._load(link)
        model = load_link(link)
        silent = _unnamed(link, model, self.tensors, complaint[1])
        proof = link.verify(self.given) if self._runs_or_is_looked_at(link) else None
        final, mended = link, False
        if proof is not None and not proof.proven and self.case.side == "network":
            fixed = link.fix(self.given)
            if fixed is not link:
                again = fixed.verify(self.given)
                final, proof, mended = (fixed, again, True) if again.proven else (link, proof, False)
        self.outcome.why = proof.sentence if proof else ""
        if proof is not None and proof.proven:
            self._check_proof(final, proof, mended)
        elif complaint[0]:
            self.outcome.outcome = "refused"
        else:
            self.outcome.outcome = "not proven"
        if silent:
            self.outcome.outcome = "SILENTLY WRONG"
            self.outcome.why = f"not named: {', '.join(silent[:4])}"

    def _link(self) -> Any:
        target = self.altered.target
        if self.case.side == "checkpoint":
            return rg.link(self._save(), target, inputs=self.given)
        network, complete = self.altered.network, set(self.tensors) == set(self.altered.network.state_dict())
        if complete:
            network.load_state_dict(self.tensors)
            return rg.link(network, target, inputs=self.given)
        options = {"size": self.given.shape[-1]} if self.given.is_floating_point() else {}
        build = self.case.architecture.build
        return rg.link(self._save(), target, inputs=self.given, builder=lambda: build(SIZES), **options)

    def _save(self) -> Path:
        # A .pth keeps the order of the tensors.
        path = self.folder / "weights.pth"
        torch.save({name: tensor.clone() for name, tensor in self.tensors.items()}, path)
        return path

    def _load(self, link: Any) -> tuple[bool, str]:
        """Whether ``load()`` refuses, and what it says, in the error or on standard error."""
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            try:
                link.load()
            except rg.LinkError as error:
                return True, str(error)
        return False, said.getvalue()

    def _runs_or_is_looked_at(self, link: Any) -> bool:
        return not any(row.conflict for row in link.rows) or link.origin.runs

    def _check_proof(self, link: Any, proof: Any, mended: bool) -> None:
        self.outcome.outcome = "proven after fix" if mended else "proven"
        if self.case.side == "checkpoint":
            self.outcome.outcome, self.outcome.why = "SILENTLY WRONG", "proven without a network"
            return
        if "new head" in proof.compared:
            self.outcome.outcome = "proven up to a new head"
            self.beheaded = True
        self.outcome.difference = self._difference(self.altered.network, link)
        other = self._other_weights(link) if not proof.unseen else 0.0
        if not self.outcome.difference <= TOLERANCE:
            self.outcome.outcome, self.outcome.why = "SILENTLY WRONG", "proven, and the outputs differ"
        elif not other <= TOLERANCE:
            self.outcome.outcome = "SILENTLY WRONG"
            self.outcome.why = f"proven, but with other weights the outputs differ by {other:.1e}"

    def _difference(self, network: nn.Module, link: Any) -> float:
        theirs, ours = self._outputs(network), self._outputs(load_link(link))
        if ours.shape != theirs.shape or not bool(theirs.isfinite().all() and ours.isfinite().all()):
            return math.inf
        return ((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-30)).item()

    def _outputs(self, network: nn.Module) -> Tensor:
        if self.beheaded:
            network = copy.deepcopy(network)
            setattr(network, self.case.architecture.head, nn.Identity())
        with torch.no_grad():
            return first_tensor(network.eval()(self.other)).double()

    def _other_weights(self, link: Any) -> float:
        """The difference of the outputs when the same link carries other weights."""
        network = randomise(self.altered.network, self.case.seed + 99)
        return self._difference(network, replace(link, origin=Origin("other weights", module=network)))


def _unnamed(link: Any, model: nn.Module, tensors: dict[str, Tensor], said: str) -> list[str]:
    """Tensors of the model that hold values of no source tensor, and that nobody has named."""
    lost = {row.target for row in link.rows if not row.sources and row.target in set(link.unused)}
    adapted = {row.target for row in link.rows if row.action == "adapted"} - lost
    floats = [tensor.float().flatten() for tensor in tensors.values() if tensor.is_floating_point()]
    known = torch.cat([*floats, torch.empty(0)]).nan_to_num(nan=7.5).unique()
    named = list(_patterns(said))
    return [
        name
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point()
        and name not in adapted
        and (name in lost or not bool(torch.isin(tensor.flatten().nan_to_num(nan=7.5), known).all()))
        and not any(fnmatch.fnmatchcase(name, pattern) for pattern in named)
    ]


def _patterns(said: str) -> Iterator[str]:
    """What a text names: ``blocks.{0..2}.norm.{weight,bias}`` stands for six tensors."""
    for word in set(re.findall(r"[\w.{},*]+", said)):
        choices = [_choices(part) for part in re.findall(r"\{[^}]*\}|[^{}]+", word.strip(",."))]
        if math.prod(map(len, choices)) <= 10_000:
            yield from ("".join(parts) for parts in itertools.product(*choices))


def _choices(part: str) -> list[str]:
    if not part.startswith("{"):
        return [part]
    found: list[str] = []
    for item in part[1:-1].split(","):
        first, dots, last = item.partition("..")
        whole = dots and first.isdigit() and last.isdigit()
        found += [str(number) for number in range(int(first), int(last) + 1)] if whole else [item]
    return found


def _line(error: Exception) -> str:
    return " ".join(str(error).split("\n")[:2])[:200]


def report(outcomes: Sequence[Outcome]) -> None:
    """Counts by alteration and by architecture, with and without the network; then everything wrong."""
    for side in SIDES:
        some = [outcome for outcome in outcomes if outcome.side == side]
        words = "with the source's network" if side == "network" else "from a checkpoint alone"
        print(f"\n{len(some)} cases {words}\n")
        _print_counts("alteration", some)
        print()
        _print_counts("architecture", some)
    _print_success(outcomes)
    for outcome in outcomes:
        if outcome.wrong:
            print(
                f"{outcome.outcome}: {outcome.architecture}, {outcome.alteration}, {outcome.side}, "
                f"seed {outcome.seed}: {outcome.why}"
            )


def _print_counts(what: str, outcomes: Sequence[Outcome]) -> None:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        counts[getattr(outcome, what)][outcome.outcome] += 1
        counts["all"][outcome.outcome] += 1
    order = [*sorted(key for key in counts if key != "all"), "all"]
    print_table([what, *OUTCOMES], [[key, *(counts[key][one] for one in OUTCOMES)] for key in order])


def _print_success(outcomes: Sequence[Outcome]) -> None:
    """How often a link that exists is found and proven, with the network at hand."""
    counts: dict[str, list[bool]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.linkable and outcome.side == "network":
            counts[outcome.alteration].append(outcome.outcome.startswith("proven"))
    print("\nproven, of the cases that can be linked, with the source's network\n")
    rows = [
        [name, sum(found), len(found), f"{sum(found) / len(found):.0%}"] for name, found in counts.items()
    ]
    every = [one for found in counts.values() for one in found]
    if every:
        rows.append(["all", sum(every), len(every), f"{sum(every) / len(every):.1%}"])
        print_table(["alteration", "proven", "of", ""], sorted(rows[:-1]) + rows[-1:])


def run_all(cases: Sequence[Case]) -> list[Outcome]:
    """Every outcome, with progress on standard error."""
    outcomes = []
    with progress("Linking", len(cases), unit="cases") as advance:
        for case in cases:
            outcome = run(case)
            outcomes += [outcome] if outcome is not None else []
            wrong = sum(one.wrong for one in outcomes)
            advance(note=f"{wrong} wrong")
    return outcomes


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    cases = every_case(options.seeds)
    if options.short:
        cases = cases[::40]
    if options.only:
        cases = [case for case in cases if options.only in f"{case.architecture.name} {case.alteration.name}"]
    outcomes = run_all(cases)
    report(outcomes)
    wrong = [asdict(outcome) for outcome in outcomes if outcome.wrong]
    counts = Counter((one.architecture, one.alteration, one.side, one.outcome) for one in outcomes)
    write_results(
        options.json,
        {
            "cases": len(outcomes),
            "outcomes": dict(Counter(outcome.outcome for outcome in outcomes)),
            "counts": [[*key, count] for key, count in sorted(counts.items())],
            "wrong": wrong,
        },
    )


def _options() -> argparse.Namespace:
    made = parser(__doc__, "link_adversarial")
    made.add_argument("--seeds", type=int, default=2, help="draws of every alteration of every architecture")
    made.add_argument("--short", action="store_true", help="one case in 40")
    made.add_argument("--only", default="", help="cases whose architecture and alteration hold this")
    return made.parse_args()


if __name__ == "__main__":
    main()
