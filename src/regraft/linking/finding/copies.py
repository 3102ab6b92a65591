"""Checkpoints that hold a network more than once: an average beside the weights, a teacher and a student."""

from __future__ import annotations

from collections.abc import Mapping

from regraft.linking.finding.unit import Shape

_AVERAGED = ("ema", "average", "averaged", "teacher", "momentum")
_ALIKE = 0.9
_LEAST = 4


def one_copy(shapes: Mapping[str, Shape], wanted: int) -> tuple[dict[str, Shape], str]:
    """The tensors of one copy, and a sentence that says which; all of them, and nothing, where there is one.

    Two prefixes are copies where nearly all names and shapes behind them are the same. The averaged copy is
    taken where a prefix names one, as that is what is evaluated; else the first. A target that wants more
    tensors (``wanted``) than one copy has is itself made of alike parts: then nothing is left out.
    """
    groups = _groups(shapes)
    for name, own in groups.items():
        twins = [other for other, theirs in groups.items() if other != name and _alike(own, theirs)]
        if not twins:
            continue
        copies = [name, *twins]
        kept = next((copy for copy in copies if _is_average(copy)), name)
        left = {copy for copy in copies if copy != kept}
        chosen = {full: shape for full, shape in shapes.items() if full.partition(".")[0] not in left}
        if wanted > 1.1 * len(chosen):
            break
        others = " and ".join(f"'{copy}.'" for copy in sorted(left))
        return chosen, f"the network is there {len(copies)} times: took '{kept}.' and left {others}"
    return dict(shapes), ""


def _groups(shapes: Mapping[str, Shape]) -> dict[str, dict[str, Shape]]:
    groups: dict[str, dict[str, Shape]] = {}
    for full, shape in shapes.items():
        prefix, dot, rest = full.partition(".")
        if dot:
            groups.setdefault(prefix, {})[rest] = shape
    return groups


def _alike(one: Mapping[str, Shape], other: Mapping[str, Shape]) -> bool:
    shared = sum(other.get(name) == shape for name, shape in one.items())
    return len(one) >= _LEAST and shared >= _ALIKE * max(len(one), len(other))


def _is_average(prefix: str) -> bool:
    return any(word in _AVERAGED for word in prefix.lower().replace("-", "_").split("_"))
