"""Link: what carries over from a source to the target model, tensor by tensor."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from regraft.core.console import say
from regraft.core.errors import LinkError
from regraft.core.inputs import Batch
from regraft.linking.blueprint import Blueprint
from regraft.linking.coverage import Coverage, measure
from regraft.linking.row import Row
from regraft.linking.table import format_rows
from regraft.sources import Source

if TYPE_CHECKING:
    from regraft.linking.grafted import Grafted
    from regraft.linking.proof import Proof


@dataclass(frozen=True)
class Link:
    """What carries over from ``source`` to the model of ``blueprint``.

    Attributes
    ----------
    rows
        One for every tensor that the model stores, in the order of its state dict.
    unused
        Source tensors that nothing receives.
    seed
        For what starts fresh.
    maps, waivers
        The user's ``REGEX=>TO`` and excused patterns, kept with the link.
    """

    source: Source
    blueprint: Blueprint
    rows: tuple[Row, ...]
    unused: tuple[str, ...] = ()
    seed: int = 0
    maps: tuple[str, ...] = ()
    waivers: tuple[str, ...] = ()

    @property
    def coverage(self) -> Coverage:
        """The share of what is shared that receives source weights."""
        return measure(self.rows)

    @property
    def uncovered(self) -> tuple[Row, ...]:
        """Shared rows that receive nothing."""
        return tuple(row for row in self.rows if row.role == "shared" and not row.carried)

    def require(self, fraction: float = 0.95) -> Link:
        """The link itself where at least ``fraction`` of the shared parameters carry over and no row
        conflicts.

        Raises ``LinkError`` that lists everything uncovered at once.
        """
        conflicts = [row for row in self.rows if row.conflict]
        if self.coverage.parameters >= fraction and not conflicts:
            return self
        raise LinkError(self._complaint(self.uncovered, f"at least {fraction:.1%} was required"))

    def waive(self, pattern: str) -> Link:
        """The link with the matching rows excused, out loud: they start fresh and do not count as shared.

        ``pattern`` is in shell style, over the whole name with or without ``trunk.network.``.
        """
        excused = {row.target for row in self.uncovered if _matches(row.target, pattern)}
        if not excused:
            raise LinkError(f"nothing to waive: no uncovered row matches {pattern!r}\n{self.table()}")
        say(f"{len(excused)} tensors are waived by {pattern!r} and start fresh")
        rows = tuple(_excuse(row, pattern) if row.target in excused else row for row in self.rows)
        return replace(self, rows=rows, waivers=(*self.waivers, pattern))

    def fresh(self, *, seed: int | None = None) -> Link:
        """The link of the scratch arm: the same model, every tensor initialised anew by its own code."""
        rows = tuple(_start_fresh(row) for row in self.rows)
        seed = self.seed if seed is None else seed
        sources = tuple(dict.fromkeys(row.source for row in self.rows if row.source and row.carried))
        return replace(self, rows=rows, unused=(*self.unused, *sources), seed=seed)

    def load(self) -> Grafted:
        """The target model with its weights, in ``eval`` mode, on the CPU.

        Raises ``LinkError`` where a row conflicts and is not waived.
        """
        from regraft.linking.load import load_link

        conflicts = tuple(row for row in self.rows if row.conflict)
        if conflicts:
            raise LinkError(self._complaint(conflicts, "rows that do not fit cannot be loaded"))
        return load_link(self)

    def verify(self, *inputs: Batch, tolerance: float = 1e-5) -> Proof:
        """Run the source's own network beside the linked one on the same inputs and compare block by block.

        Without inputs it runs on two made-up ones.
        """
        from regraft.linking.proof import prove

        return prove(self, inputs, tolerance=tolerance)

    def table(self, *, width: int = 80) -> str:
        """The rows as text, equal ones folded (``blocks.{0..15}``)."""
        lines = format_rows(self.rows, width=width)
        return "\n".join([*lines, "", *self._sums()])

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "source": self.source.name,
            "coverage": self.coverage.to_json(),
            "rows": [row.to_json() for row in self.rows],
            "unused": list(self.unused),
            "seed": self.seed,
            "maps": list(self.maps),
            "waivers": list(self.waivers),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], source: Source, blueprint: Blueprint) -> Link:
        """A saved link, to be applied again without searching."""
        return cls(
            source=source,
            blueprint=blueprint,
            rows=tuple(Row.from_json(row) for row in data["rows"]),
            unused=tuple(data["unused"]),
            seed=data.get("seed", 0),
            maps=tuple(data.get("maps", ())),
            waivers=tuple(data.get("waivers", ())),
        )

    def _sums(self) -> list[str]:
        cover = self.coverage
        counts = {
            action: sum(row.action == action for row in self.rows)
            for action in ("copied", "adapted", "fresh")
        }
        said = ", ".join(f"{count} {action}" for action, count in counts.items())
        return [
            f"{said}; {len(self.unused)} source tensors unused",
            f"of what is shared, {cover.tensors:.1%} of tensors, {cover.parameters:.1%} of parameters",
            f"and {cover.depth:.1%} of blocks carry over",
        ]

    def _complaint(self, rows: Sequence[Row], demand: str) -> str:
        listed = "\n".join(_say_row(row) for row in rows)
        unused = ", ".join(self.unused[:12]) + (", .." if len(self.unused) > 12 else "")
        return (
            f"{self.source.name}: {self.coverage.parameters:.1%} of the shared parameters carry over; "
            f"{demand}. Nothing reaches {len(rows)} tensors:\n{listed}\n"
            f"unused source tensors: {unused or 'none'}\n"
            "Excuse rows with link.waive(PATTERN) (--waive PATTERN), or say where they come from with "
            "maps=['REGEX=>TO'] (--map 'REGEX=>TO')."
        )


def _say_row(row: Row) -> str:
    shape = "x".join(map(str, row.target_shape)) or "scalar"
    if row.source_shape is None:
        return f"  {row.target} ({shape}): {row.rule}"
    other = "x".join(map(str, row.source_shape)) or "scalar"
    return f"  {row.target} ({shape}): {row.rule}: {row.source} is {other}"


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(
        name.removeprefix("trunk.network."), pattern
    )


def _excuse(row: Row, pattern: str) -> Row:
    return replace(row, role="specific", rule=f"waived {pattern}: {row.rule}", conflict=False)


def _start_fresh(row: Row) -> Row:
    return replace(
        row,
        source=None,
        source_shape=None,
        rule="from scratch",
        transform="",
        action="fresh",
        confidence=0.0,
        alternatives=(),
        picks=(),
        conflict=False,
    )
