"""greedy: a soup that takes in what does not spoil it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from regraft.terms.averages.average import Average, AverageRule, Blocks, Judge, Weights
from regraft.terms.averages.mean import mean_weights


class Greedy(AverageRule):
    """The greedy soup: stages in the order of their validation loss, each kept if the mean gets no worse.

    Begins with the best stage alone, so on the validation examples it is never worse than that one. Where no
    validation example has a label it is the mean of all.

    Source: Wortsman et al. (2022), "Model soups: averaging weights of multiple fine-tuned models improves
    accuracy without increasing inference time", recipe 1. Changed: the loss judges where the paper has
    accuracy, which does not move on a small validation part.
    """

    name = "greedy"

    def trials(self, of: Sequence[str], blocks: int = 1) -> int:
        """Each stage alone, and all but the best with those that were kept."""
        return 2 * len(of) - 1

    def __call__(self, ingredients: Mapping[str, Weights], judge: Judge, blocks: Blocks = ()) -> Average:
        """See :class:`AverageRule`."""
        alone = {name: judge(weights) for name, weights in ingredients.items()}
        known = all(one.known for one in alone.values())
        first, *rest = sorted(alone, key=lambda name: alone[name].loss)
        kept, least, tried = [first], alone[first].loss, {}
        for name in rest:
            loss = judge(mean_weights([ingredients[one] for one in (*kept, name)])).loss if known else least
            tried[name] = loss
            if loss <= least:
                kept, least = [*kept, name], loss
        line = {
            "alone": {name: one.loss if known else None for name, one in alone.items()},
            "with": {name: loss if known else None for name, loss in tried.items()},
            "chosen": kept,
        }
        return Average(mean_weights([ingredients[name] for name in kept]), line)
