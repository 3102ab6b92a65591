"""``--strategy auto``: which strategy suits a target, decided by a race within a budget of time.

Probe, lpft, partial, L2-SP, LoRA, full and, where labelled source data were handed over, joint are tried on
the same folds of the labels that the run may use, as far as time allows (:mod:`regraft.choosing.auto`).
Then other settings of the best one's plan: those of a small portfolio, or with ``search`` those that a search
suggests. Within the budget lies all of the call: reading and decoding, features, the race, the final fit, the
figures on the test part and the report.

What decides is the task's first metric, example by example; where that is no mean over examples, as mean
average precision, the loss at the best temperature; of several outputs the mean, each in standard deviations
of what the probe reaches.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from regraft.api.plan import plan as make_plan
from regraft.api.streams import find_streams, prepare_streams
from regraft.choosing.auto import (
    ANCHOR,
    COMPILED,
    SHARE,
    SHORTEST,
    Bench,
    Choice,
    Entrant,
    Forecast,
    FromPortfolio,
    FromSearch,
    Left,
    Race,
    Variants,
    choice_table,
    decide,
    enter,
    labels_per_class,
    measure_of,
    names_in_order,
    own_examples,
)
from regraft.core.console import duration, hushed, said_once, say
from regraft.core.deadline import Deadline
from regraft.core.errors import BudgetError, UsageError
from regraft.core.executors import LOCAL, Executor, open_executor, read_engine
from regraft.core.optional import is_installed
from regraft.engine import Opened, Settings
from regraft.engine.open import draw_examples
from regraft.engine.price import Price, Sample, least_seconds, price, take_sample
from regraft.engine.processes.joining import launched
from regraft.engine.stream_data import StreamData
from regraft.linking import Link
from regraft.plans import Plan, change_plan, has_setting
from regraft.targets import Prepared, Target, prepare
from regraft.tasks import make_task

USUAL = 300.0
"""Seconds, where no budget is given."""
TIMES_PROBE = 10
"""Times the price of a probe, where that is more."""
PRICING = 0.1
"""Of what is left: the share that pricing strategies may take."""
JOINT, SOURCE = "joint", "source"


@dataclass(frozen=True)
class Chosen:
    """What a race ended with.

    Attributes
    ----------
    plan
        The winner's, with the call's own seed and draw.
    choice
        Why.
    streams
        The data that this plan reads beside the target.
    settings
        Those that the race ran with.
    """

    plan: Plan
    choice: Choice
    streams: Mapping[str, Any] | None
    settings: Settings


def choose_plan(
    link: Link,
    target: Target,
    *,
    deadline: Deadline,
    seed: int = 0,
    per_class: int | None = None,
    train_size: int | None = None,
    validation: float = 0.2,
    changes: Sequence[str] = (),
    streams: Mapping[str, Any] | None = None,
    settings: Settings | None = None,
    max_unreadable: float = 0.05,
    search: int | None = None,
    engine: str = LOCAL,
) -> Chosen:
    """Race strategies for a link on a target's labelled examples; the winner's plan and why it won.

    ``deadline`` has run since the call began and holds what the final fit needs as well; one without a limit
    gets the usual one. ``changes`` apply to every strategy whose plan has their key. With ``search`` so many
    settings of the best strategy are tried at the most, which a search suggests. ``engine`` is that of
    :func:`regraft.rank`: with ``processes`` or ``ray`` trials of a round run at once, and the final fit
    takes as many threads as each of them had, so that it finds what they kept.

    Raises
    ------
    BudgetError
        Where not even a probe fits; it says what would.
    UsageError
        Where several processes were started, or ``streams`` holds other data than ``source``.
    PlanError
        Where a change has a key that no strategy's plan has.
    MissingPackageError
        Where a search is asked for and Optuna is not installed.
    """
    _check(streams)
    carrier, started = read_engine(engine), settings or Settings()
    started = replace(started, threads=carrier.threads(started.threads))
    device = started.apply()
    if carrier.name != LOCAL:
        started = replace(started, device=device.type)  # workers may see other devices
    draw = {"seed": seed, "per_class": per_class, "train_size": train_size, "validation": validation}

    def write(name: str, settings: Sequence[str] = ()) -> Plan:
        return make_plan(link, name, settings=settings, **draw)  # type: ignore[arg-type]

    variants = FromPortfolio(changes) if search is None else FromSearch(search, seed=seed, held=changes)
    with said_once(), _interruption_told():
        entrants, left = _entrants(link, target, write, changes, deadline, started, joint=bool(streams))
        begun = time.monotonic()
        prepared = prepare(target, link.graft.source.preprocessing, max_unreadable=max_unreadable)
        bench = _bench(link, prepared, entrants, streams, started, max_unreadable)
        _check_fits(deadline, entrants[0], started)
        opening = time.monotonic() - begun
        forecast = Forecast(opening=opening, test=len(prepared.target.test), pool=len(bench.own))
        with open_executor(
            carrier, threads=started.threads, begin=started.apply, gpu=device.type == "cuda"
        ) as executor:
            race = _race(entrants, left, bench, forecast, deadline, variants, executor)
            race.run()
        winner, choice = decide(race, labels=len(bench.own))
    say(choice_table(choice))
    others = streams if winner.plan.strategy == JOINT else None
    return Chosen(winner.plan, choice, others, bench.settings)


def _check(streams: Mapping[str, Any] | None) -> None:
    if launched() > 1:
        raise UsageError(
            f"--strategy auto races in one process and {launched()} were started. Type: regraft fit .. "
            "--strategy auto --out DIR, then run what it chose in several: torchrun .. -m regraft fit .. "
            "--plan DIR/plan.yaml"
        )
    strange = [name for name in streams or {} if name != SOURCE]
    if strange:
        raise UsageError(
            f"data were handed over for the stream {', '.join(strange)}; --strategy auto reads one stream "
            f"beside the target, labelled source data for {JOINT}: --stream {SOURCE}=DATA"
        )


@contextmanager
def _interruption_told() -> Iterator[None]:
    """Say, where the race is interrupted, what is lost: nothing that takes long."""
    try:
        yield
    except KeyboardInterrupt:
        say(
            "Interrupted in the race between strategies; no run was begun. The same command begins the race "
            "again, faster: what frozen layers gave is kept."
        )
        raise


def _entrants(
    link: Link,
    target: Target,
    write: Callable[..., Plan],
    changes: Sequence[str],
    deadline: Deadline,
    settings: Settings,
    *,
    joint: bool,
) -> tuple[list[Entrant], list[Left]]:
    """Who enters, with prices, which are said; the probe is priced first, and has to fit."""
    applied: dict[str, list[str]] = {one: [] for one in changes}

    def changed(name: str) -> Plan:
        plan = write(name)
        mine = [one for one in changes if has_setting(plan, one)]
        for one in mine:
            applied[one].append(name)
        return write(name, mine) if mine else plan

    sample = take_sample(target, link)
    first, *others = names_in_order(labels_per_class(target, write(ANCHOR)), joint=joint)

    def price_of(plan: Plan) -> Price:
        return price(plan, target, link, sample=sample, memory=False)

    with hushed():  # what a strategy says of itself is said again by the one that wins
        plan = changed(first)
        probe = Entrant(first, plan, price_of(plan))
    _limit(deadline, probe, settings)
    hopeless = _hopeless(target, sample, deadline)
    with hushed():
        rest, left = enter(others, changed, price_of, hopeless=hopeless, beside=[probe])
    found = [probe, *rest]
    for one, names_of in applied.items():
        if not names_of:
            change_plan(found[-1].plan, [one])  # says what is wrong with it
        say(f"--set {one} applies to {', '.join(names_of)}.")
    prices = ", ".join(f"{one.name} {duration(one.price.total)}" for one in found)
    say(f"Strategies, and what each takes on this machine at most: {prices}.")
    return found, left


def _hopeless(target: Target, sample: Sample, deadline: Deadline) -> Callable[[Plan], str]:
    """What tells why a plan cannot even be tried: it is too long, or pricing has taken its share of time."""
    room, begun = PRICING * deadline.left, time.monotonic()

    def why(plan: Plan) -> str:
        # A fold, and the fit with all labels, with the fewest of its steps.
        least = SHORTEST * (1 + SHARE) * least_seconds(plan, target, sample)
        if least > deadline.left:
            return (
                f"a fifth of its steps, on a fold and then on all labels, takes {duration(least)} at the "
                f"least, and {duration(max(deadline.left, 0.0))} are left"
            )
        spent = time.monotonic() - begun
        return f"pricing strategies has taken {duration(spent)}, no more is spent" if spent > room else ""

    return why


def _limit(deadline: Deadline, probe: Entrant, settings: Settings) -> None:
    """Set the usual limit where none was given; raise ``BudgetError`` where a probe does not fit."""
    if deadline.seconds is None:
        deadline.limit(max(USUAL, TIMES_PROBE * probe.price.total))
        say(f"No --budget was given: {duration(deadline.seconds or 0)} for all of it.")
    _check_fits(deadline, probe, settings)


def _check_fits(deadline: Deadline, probe: Entrant, settings: Settings) -> None:
    """Raise ``BudgetError`` where a probe takes longer than what is left even if everything goes well."""
    quick = settings.backend in ("auto", "openvino") and is_installed("openvino")
    least = probe.price.total / (COMPILED if quick else 1.0)
    if not deadline.fits(least):
        needed = deadline.spent + probe.price.total
        raise BudgetError(
            f"a probe does not fit in the budget of {duration(deadline.seconds or 0)}: "
            f"{duration(deadline.spent)} are spent, and it takes {duration(least)} to "
            f"{duration(probe.price.total)} more. Give --budget {math.ceil(1.2 * needed) + 5}s or more"
        )


def _bench(
    link: Link,
    prepared: Prepared,
    entrants: Sequence[Entrant],
    streams: Mapping[str, Any] | None,
    settings: Settings,
    max_unreadable: float,
) -> Bench:
    plan = entrants[0].plan
    with hushed():  # the final fit says what there is to say of the draw
        own = own_examples(draw_examples(plan, prepared.target))
    opened = Opened(link.source, link.graft.source)
    joint = next((one.plan for one in entrants if one.name == JOINT), None)
    others: dict[str, Mapping[str, StreamData]] = {}
    if joint is not None and streams:
        steps = opened.network.preprocessing
        found = find_streams(joint, streams)
        others[JOINT] = prepare_streams(
            found, joint, prepared.target.tasks, steps, max_unreadable=max_unreadable
        )
    return Bench(opened, link, prepared, own, plan.seed, plan.draw.validation, settings, others)


def _race(
    entrants: list[Entrant],
    left: list[Left],
    bench: Bench,
    forecast: Forecast,
    deadline: Deadline,
    variants: Variants,
    executor: Executor,
) -> Race:
    plan = entrants[0].plan
    return Race(
        entrants,
        bench,
        forecast,
        deadline,
        measure_of([make_task(spec) for spec in bench.prepared.target.tasks]),
        plan.seed,
        round(len(bench.own) * (1 - plan.draw.validation)),
        per_class=labels_per_class(bench.prepared.target, plan),
        variants=variants,
        left=left,
        executor=executor,
    )
