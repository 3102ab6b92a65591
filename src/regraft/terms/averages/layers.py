"""layers: of several stages, the weights that are best block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from regraft.terms.averages.average import Average, AverageRule, Blocks, Judge, Weights
from regraft.terms.averages.mean import mean_weights

MEAN = "mean of all"


class Layers(AverageRule):
    """A choice for each block, greedily from the head down, of what has the least validation loss.

    Begins with the stage that is best alone. Then, for the heads, the last block, the one in front of it and
    so on, the weights that each other stage left there, and the mean of all, are put in its place, all else
    as chosen so far; the best is kept if it lowers the loss. So on the validation examples it is never worse
    than the best stage, and of one stage it is that one to the bit. Where no validation example has a label
    nothing is tried, and it is the first stage.

    It is a plain search, in no paper that we know of in this form. Near to it are learned soups with
    coefficients by layer (Wortsman et al. 2022, "Model soups", appendix I), of which this takes 0, 1 or 1/k,
    and model stitching (Bansal, Nakkiran & Barak 2021, "Revisiting model stitching to compare neural
    representations"), which puts the front of one network before the end of another. What stands in front of
    the first block that differs is run once for all trials.
    """

    name = "layers"

    def trials(self, of: Sequence[str], blocks: int = 1) -> int:
        """Each stage alone; then for each block the others and the mean."""
        return len(of) + (blocks * len(of) if len(of) > 1 else 0)

    def __call__(self, ingredients: Mapping[str, Weights], judge: Judge, blocks: Blocks = ()) -> Average:
        """See :class:`AverageRule`."""
        alone = {name: judge(weights) for name, weights in ingredients.items()}
        best = min(alone, key=lambda name: alone[name].loss)
        weights, least = dict(ingredients[best]), alone[best].loss
        offered = {**ingredients, MEAN: mean_weights(list(ingredients.values()))}
        known = all(one.known for one in alone.values()) and len(ingredients) > 1
        chosen, tried = {}, {}
        for block, names in reversed(blocks):
            chosen[block] = best
            for name in (name for name in offered if known and name != best):
                trial = {**weights, **{key: offered[name][key] for key in names}}
                loss = judge(trial).loss
                tried[f"{block}: {name}"] = loss
                if loss < least:
                    least, chosen[block] = loss, name
            weights.update({key: offered[chosen[block]][key] for key in names})
        line = {
            "alone": {name: one.loss if one.known else None for name, one in alone.items()},
            "tried": tried,
            "chosen": chosen,
        }
        return Average(weights, line)
