"""A score as a thing that can be listed, asked what it needs, cited, and computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from regraft.core.errors import UsageError
from regraft.core.task_spec import TaskKind
from regraft.scores.examples import Examples

CLASSES: tuple[TaskKind, ...] = ("binary", "multiclass", "multilabel")


@dataclass(frozen=True)
class Score:
    """One number that says how well a source should transfer.

    Attributes
    ----------
    name
        As in ``regraft cite NAME``.
    says
        What it looks at, in a line.
    cite
        The paper.
    compute
        The score of one source's examples; None for scores that only order a pool.
    over_pool
        The scores of all sources in a pool, where these depend on each other.
    kinds
        Kinds of tasks that it is there for.
    needs_head
        Whether it looks at the probabilities of the source's own head.
    cost
        Beyond the decomposition that all share, in N examples, D features (R directions), C classes, Z source
        classes.
    higher_is_better
        Always; losses are negated.
    """

    name: str
    says: str
    cite: str
    cost: str
    compute: Callable[[Examples], float] | None = None
    over_pool: Callable[[Sequence[Examples]], list[float]] | None = None
    kinds: tuple[TaskKind, ...] = CLASSES
    needs_head: bool = False
    higher_is_better: bool = True

    def why_not(self, examples: Examples) -> str | None:
        """Why it cannot be computed of these examples, as half a sentence; None if it can be."""
        if examples.kind not in self.kinds:
            return f"it is there for {', '.join(self.kinds)} and the task is a {examples.kind}"
        if self.needs_head and examples.source_probabilities is None:
            return "it needs the source head's probabilities (source_probabilities=..) and there are none"
        return None

    def of(self, examples: Examples) -> float:
        """The score of one source. Raises :class:`UsageError` where it needs what is not there."""
        if self.compute is None:
            raise UsageError(
                f"the score {self.name} only orders a pool of sources: SCORES[{self.name!r}].among(pool)"
            )
        self._check(examples)
        return self.compute(examples)

    def among(self, pool: Sequence[Examples]) -> list[float]:
        """The scores of all sources in a pool, in its order."""
        for one in pool:
            self._check(one)
        return [self.of(one) for one in pool] if self.over_pool is None else self.over_pool(pool)

    def _check(self, examples: Examples) -> None:
        reason = self.why_not(examples)
        if reason:
            raise UsageError(f"the score {self.name} cannot be computed: {reason}")
