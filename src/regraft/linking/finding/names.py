"""Matching tensors by their names: equal, mapped by the user, or equal but for a prefix or a suffix."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Match:
    """A source tensor found for a target tensor."""

    source: str
    rule: str
    confidence: float = 1.0
    alternatives: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rename:
    """A user's ``REGEX=>TO``: source names that match the whole pattern are read as ``TO``."""

    pattern: str
    to: str

    @property
    def rule(self) -> str:
        """How rows that it found name it."""
        return f"map {self.pattern}=>{self.to}"

    def apply(self, name: str) -> str | None:
        """The new name, or None where the pattern does not match."""
        match = re.fullmatch(self.pattern, name)
        return match.expand(self.to) if match else None


def match_names(
    targets: Mapping[str, Shape], sources: Mapping[str, Shape], renames: Sequence[Rename] = ()
) -> dict[str, Match]:
    """For each target name the source tensor whose name says that it belongs there.

    1. What the user maps. 2. Equal names. 3. For the rest, the one prefix or suffix, of source or target,
    that makes most names equal among tensors of equal shape; where another does as well, it is an
    alternative.
    """
    found: dict[str, Match] = {}
    for rename in renames:
        for source in sources:
            to = rename.apply(source)
            if to is not None and to in targets and to not in found:
                found[to] = Match(source, rename.rule)
    used = {match.source for match in found.values()}
    for name in targets:
        if name not in found and name in sources and name not in used:
            found[name] = Match(name, "equal names")
    _match_affixes(targets, sources, found)
    return found


def _match_affixes(
    targets: Mapping[str, Shape], sources: Mapping[str, Shape], found: dict[str, Match]
) -> None:
    used = {match.source for match in found.values()}
    open_targets = {name: shape for name, shape in targets.items() if name not in found}
    free = {name: shape for name, shape in sources.items() if name not in used}
    ranked = sorted(_affix_matches(open_targets, free), key=lambda pair: -len(pair[1]))
    if not ranked:
        return
    rule, best = ranked[0]
    rivals = [pairs for _, pairs in ranked[1:] if len(pairs) == len(best)]
    for target, source in best.items():
        others = sorted({pairs[target] for pairs in rivals if target in pairs} - {source})
        found[target] = Match(source, rule, 0.95 / (1 + len(others)), tuple(others))


def _affix_matches(
    targets: Mapping[str, Shape], sources: Mapping[str, Shape]
) -> Iterator[tuple[str, dict[str, str]]]:
    """Every affix that makes some names equal: the rule in words, and target -> source."""
    for prefix in _prefixes(sources):
        yield from _keep(
            f"prefix '{prefix}' of the source", targets, sources, {prefix + t: t for t in targets}
        )
    for suffix in _suffixes(sources):
        yield from _keep(
            f"suffix '{suffix}' of the source", targets, sources, {t + suffix: t for t in targets}
        )
    for prefix in _prefixes(targets):
        inner = {t.removeprefix(prefix): t for t in targets if t.startswith(prefix)}
        yield from _keep(f"prefix '{prefix}' of the target", targets, sources, inner)
    for suffix in _suffixes(targets):
        inner = {t.removesuffix(suffix): t for t in targets if t.endswith(suffix)}
        yield from _keep(f"suffix '{suffix}' of the target", targets, sources, inner)


def _keep(
    rule: str, targets: Mapping[str, Shape], sources: Mapping[str, Shape], wanted: Mapping[str, str]
) -> Iterator[tuple[str, dict[str, str]]]:
    pairs = {t: s for s, t in wanted.items() if s in sources and sources[s] == targets[t]}
    if pairs:
        yield rule, pairs


def _prefixes(names: Iterable[str], depth: int = 4) -> list[str]:
    seen = {
        ".".join(parts[:count]) + "."
        for parts in (name.split(".") for name in names)
        for count in range(1, min(depth, len(parts) - 1) + 1)
    }
    return sorted(seen)


def _suffixes(names: Iterable[str]) -> list[str]:
    return sorted({"." + name.rsplit(".", 1)[1] for name in names if name.count(".") > 1})
