"""A setting as changes of a plan, ``KEY=VALUE`` as ``--set`` takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from regraft.choosing.portfolio.setting import Setting, portfolio
from regraft.plans import Plan, TrainStage


def changes_for(plan: Plan, *, size: int = 6) -> list[list[str]]:
    """What the first ``size`` settings of the portfolio change of a plan, in their order.

    Settings that come to the same for this plan stand once, and so does the plan as it is (no changes).
    """
    every = [changes_of(setting, plan) for setting in portfolio(size)]
    return [changes for number, changes in enumerate(every) if changes not in every[:number]]


def changes_of(setting: Setting, plan: Plan, *, usual: Setting | None = None) -> list[str]:
    """What to change of a plan so that its train stages are to its own as ``setting`` is to ``usual``.

    The portfolio was learned with plain stochastic gradient descent: its rates mean nothing to another
    optimiser, but how far apart the rates are that are worth trying may carry over. So the plan's own rates
    stand for those of the portfolio's middle setting (``usual`` if not given), every rate is multiplied by
    ``setting.stride / usual.stride``, and the batches of all streams by the ratio of theirs. Where a stage's
    optimiser is ``sgd``, rates are compared instead, and momentum and weight decay are the setting's own. A
    rate that is found (``auto``) stays; a plan without train stages has nothing to change.
    """
    usual = usual or middle(portfolio())
    stages = [(number, stage) for number, stage in enumerate(plan.stages) if isinstance(stage, TrainStage)]
    changes = [change for number, stage in stages for change in _of_stage(number, stage, setting, usual)]
    return [*changes, *(_of_batches(plan, setting, usual) if stages else ())]


def middle(settings: Sequence[Setting]) -> Setting:
    """The setting whose stride has as many below it as above it; of several, the one that comes first."""
    strides = sorted(setting.stride for setting in settings)
    wanted = strides[(len(strides) - 1) // 2]
    return min(settings, key=lambda setting: abs(setting.stride - wanted))


def _of_stage(number: int, stage: TrainStage, setting: Setting, usual: Setting) -> Iterator[str]:
    plain = stage.optimiser.name == "sgd"
    ratio = setting.rate / usual.rate if plain else setting.stride / usual.stride
    factor = float(f"{ratio:.6g}")  # 0.1 / (1 - 0.9) is not quite 1
    if plain and setting.momentum != stage.optimiser.momentum:
        yield f"stages.{number}.optimiser.momentum={setting.momentum:g}"
    for place, group in enumerate(stage.groups):
        key = f"stages.{number}.groups.{place}"
        if group.rate != "auto" and factor != 1.0:
            yield f"{key}.rate={group.rate * factor:.3g}"
        if plain and group.weight_decay != setting.weight_decay:
            yield f"{key}.weight_decay={setting.weight_decay:g}"


def _of_batches(plan: Plan, setting: Setting, usual: Setting) -> Iterator[str]:
    factor = setting.batch / usual.batch
    for name, stream in plan.streams.items():
        size = max(1, round(stream.batch * factor))
        if size != stream.batch:
            yield f"streams.{name}.batch={size}"
