"""Changing what a stage trains: its frozen prefix and its groups follow."""

from __future__ import annotations

from regraft.core.console import say
from regraft.engine.patterns import HEAD, block_of, matches, selected
from regraft.linking import Grafted, Link
from regraft.plans import GroupSpec, Plan, Stage, TrainStage


def follow_trainable(before: Plan, after: Plan, link: Link) -> Plan:
    """The changed plan with what has to follow where a stage's ``trainable`` was changed.

    - A frozen prefix ends in front of the first block that is trained now; where the stage had none it gets
      none, as its examples may be read in random views.
    - Groups that mean no trained parameter go; parameters that no group means get a group of their own, at
      the rate of the one nearest to the stem.

    What was changed by hand as well stays as it was given. Raises :class:`PlanError` for a pattern that names
    no layer. A stage that edits the network first is left as it is: what it trains is not there yet.
    """
    if len(before.stages) != len(after.stages):
        return after  # stages were given anew, all of them
    pairs = [_retrained(*both) for both in zip(before.stages, after.stages, strict=True)]
    if not any(pairs):
        return after
    model = link.graft.skeleton()
    stages = [_followed(*pair, model) if pair else new for pair, new in zip(pairs, after.stages, strict=True)]
    return after.model_copy(update={"stages": tuple(stages)})


def _retrained(old: Stage, new: Stage) -> tuple[TrainStage, TrainStage] | None:
    """Both stages where they train, unlike layers, what the network has without edits."""
    if not isinstance(old, TrainStage) or not isinstance(new, TrainStage) or new.edits:
        return None
    return (old, new) if old.trainable != new.trainable else None


def _followed(old: TrainStage, new: TrainStage, model: Grafted) -> TrainStage:
    names = list(selected(model, new.trainable, purpose=f"trainable of stage {new.name!r}"))
    changes: dict[str, object] = {}
    if new.frozen_prefix == old.frozen_prefix is not None:
        changes["frozen_prefix"] = _cut_before(model, names)
    if new.groups == old.groups:
        changes["groups"] = _regrouped(model, names, new)
    followed = new.model_copy(update=changes)
    different = [key for key in changes if getattr(followed, key) != getattr(new, key)]
    if different:
        say(f"Stage {new.name!r} trains other layers now; {' and '.join(different)} follow. See the plan.")
    return followed


def _cut_before(model: Grafted, names: list[str]) -> str | None:
    """The last block in front of the first that holds one of these parameters."""
    blocks = model.trunk.block_names
    holding = {block_of(model, name) for name in names} - {HEAD}
    first = min((blocks.index(block) for block in holding), default=len(blocks))
    return blocks[first - 1] if first else None


def _regrouped(model: Grafted, names: list[str], stage: TrainStage) -> tuple[GroupSpec, ...]:
    """The stage's groups, less those that mean nothing, with one for what none means."""
    homes = {
        name: next((number for number, one in enumerate(stage.groups) if matches(model, name, one.match)), -1)
        for name in names
    }
    kept = tuple(one for number, one in enumerate(stage.groups) if number in homes.values())
    homeless = [name for name, home in homes.items() if home < 0]
    if not homeless:
        return kept
    trunk = [one for one in stage.groups if one.match != (HEAD,)]
    like = (trunk or list(stage.groups))[0]
    meant = tuple(one for one in stage.trainable if any(matches(model, name, (one,)) for name in homeless))
    return (*kept, GroupSpec(match=meant, rate=like.rate, weight_decay=like.weight_decay))
