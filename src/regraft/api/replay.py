"""``rg.replay``: run the step again whose loss was not finite, and see where it went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regraft.api.fit import open_run
from regraft.engine.replay import Replay, read_facts, replay_step
from regraft.engine.train_stage import TrainStageRun
from regraft.plans import TrainStage
from regraft.sources import Source


def replay(
    folder: str | Path,
    *,
    sources: Mapping[str, Source] | None = None,
    builder: Any = None,
    network: Any = None,
    streams: Mapping[str, Any] | None = None,
) -> Replay:
    """Run a kept step again, with the weights and the batch that it had; nothing is trained or written.

    Example::

        print(rg.replay("runs/leaves"))

    ``sources``, ``builder``, ``network`` and ``streams`` are those of :func:`regraft.resume`. Raises
    :class:`BundleError` where the run keeps no step.
    """
    place = Path(folder)
    facts = read_facts(place)
    work = open_run(place, sources=sources, builder=builder, network=network, streams=streams)
    stage = next(stage for stage in work.plan.stages if stage.name == facts["stage"])
    assert isinstance(stage, TrainStage)
    return replay_step(TrainStageRun(stage, work, None), place)
