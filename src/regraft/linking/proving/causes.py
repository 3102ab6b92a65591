"""Causes: why a linked network computes something else than its source, found by trying."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from regraft.linking.fixes.fix import Fix
from regraft.linking.network import Given
from regraft.linking.proving.bench import Bench, Comparison
from regraft.linking.proving.trials import Trial, list_trials

if TYPE_CHECKING:
    from regraft.linking.link import Link

TRIES = 30
"""Runs of the target that a search may take."""


@dataclass(frozen=True)
class Finding:
    """What a search found: the trials that helped, in order, and what the last one left."""

    trials: tuple[Trial, ...]
    left: Comparison

    @property
    def fixes(self) -> tuple[Fix, ...]:
        """What the trials set."""
        return tuple(trial.fix for trial in self.trials)


def find_causes(bench: Bench) -> tuple[str, ...]:
    """Likely causes of a difference, in words; those first that were tried and brought the two nearer."""
    from regraft.linking.proving.hints import name_causes

    finding = search(bench)
    return (*(trial.sentence for trial in finding.trials), *name_causes(bench, finding.left))


def find_fixes(link: Link, inputs: Sequence[Given], *, tolerance: float) -> tuple[Fix, ...]:
    """Hyper-parameters of the target that make it compute what the source does.

    They are proven by another run on a target that is built with them; empty where nothing helps, where
    nothing needs to, and where the source has no network.
    """
    from regraft.linking.proving.bench import open_bench
    from regraft.linking.proving.inputs import NotSharedError
    from regraft.linking.proving.proof import prove

    if not link.origin.runs:
        return ()
    try:
        bench = open_bench(link, inputs, tolerance)
    except NotSharedError:
        return ()
    if bench.measure().difference <= tolerance / 10:
        return ()
    fixes = search(bench, tolerance=tolerance / 10).fixes
    if not fixes:
        return ()
    mended = replace(link, blueprint=link.blueprint.fixed(fixes))
    return fixes if prove(mended, inputs, tolerance=tolerance, causes=False).proven else ()


def search(bench: Bench, *, tries: int = TRIES, tolerance: float | None = None) -> Finding:
    """Set one hyper-parameter after the other, each time keeping the one that helps.

    A trial helps where the first step that departs moves towards the output, or disappears. Trials chain: a
    padding that mends the first convolution lets the epsilon of the norm behind it show. Inputs chain too:
    loud ones hide which activation it is that quiet ones show.
    """
    enough = bench.tolerance if tolerance is None else tolerance
    bench = bench.focused()
    best = bench.compare()
    chosen: list[Trial] = []
    open_trials = list(list_trials(bench))
    while tries > 0:
        if best.difference <= (bench.tolerance if chosen else enough):
            bench, best = _refocus(bench, chosen)
            if best.difference <= (bench.tolerance if chosen else enough):
                break
        step, used = _next(bench, chosen, open_trials, best, tries)
        tries -= used
        if step is None:
            break
        trial, best = step
        chosen.append(trial)
        open_trials = [other for other in open_trials if not _clashes(other, trial)]
    return Finding(tuple(chosen), best)


def _refocus(bench: Bench, chosen: Sequence[Trial]) -> tuple[Bench, Comparison]:
    """Look at the input on which most is left, once the chosen trials are set."""
    fixes = [trial.fix for trial in chosen]
    bench = bench.focused(fixes)
    return bench, bench.fixed(fixes).compare()


def find_closer(bench: Bench) -> str:
    """With which setting two networks that agree just within the tolerance are much nearer, in words."""
    bench = bench.focused()
    apart = bench.compare().difference
    for trial in list_trials(bench)[:TRIES]:
        seen = bench.try_fixes([trial.fix])
        if seen is not None and seen.difference < apart / 20:
            return trial.sentence
    return ""


def _next(
    bench: Bench, chosen: Sequence[Trial], trials: Sequence[Trial], best: Comparison, tries: int
) -> tuple[tuple[Trial, Comparison] | None, int]:
    """The first trial that mends everything or moves the departure on; else the one that brings most."""
    helped: list[tuple[Trial, Comparison]] = []
    trials = [trial for trial in trials if _concerns(trial, best, bench.tolerance)]
    for used, trial in enumerate(trials[:tries], 1):
        seen = bench.try_fixes([*(one.fix for one in chosen), trial.fix])
        if seen is None:
            continue
        if seen.difference <= min(bench.tolerance, best.difference / 20):
            return (trial, seen), used
        if helps(best, seen):
            helped.append((trial, seen))
    used = min(len(trials), tries)
    if not helped:
        return None, used
    return max(helped, key=lambda pair: (pair[1].depth, -pair[1].difference)), used


def _concerns(trial: Trial, seen: Comparison, tolerance: float) -> bool:
    """Where a module gives something else although it reads the same, only its own settings can be why."""
    first = seen.first
    if first is None or first.entering is None or first.leaving is None or first.entering > tolerance / 20:
        return True  # a difference within the tolerance may grow in the module, which is then not to blame
    return first.target.path in trial.fix.modules


def helps(before: Comparison, after: Comparison) -> bool:
    """Whether the first departure moved on, or stayed where it is at a difference much smaller."""
    if after.depth != before.depth:
        return after.depth > before.depth
    return after.difference < before.difference / 3 and not _departs_more(before, after)


def _departs_more(before: Comparison, after: Comparison) -> bool:
    if before.first is None or after.first is None:
        return False
    old, new = before.first.leaving, after.first.leaving
    return old is not None and new is not None and new > old


def _clashes(one: Trial, other: Trial) -> bool:
    return one.fix.kind == other.fix.kind and bool(set(one.fix.modules) & set(other.fix.modules))
