"""Link: what carries over from a source to the target model, tensor by tensor."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from regraft.core.console import say
from regraft.core.errors import LinkError
from regraft.linking.blueprint import HEADS, Blueprint
from regraft.linking.coverage import Coverage, measure
from regraft.linking.fixes.fix import Fix
from regraft.linking.network import Given
from regraft.linking.origin import Origin
from regraft.linking.row import FROM_SCRATCH, MEANT_FRESH, Row
from regraft.linking.showing.table import format_rows
from regraft.linking.whole import WholeBlueprint
from regraft.sources import Source

if TYPE_CHECKING:
    from regraft.linking.proving.proof import Proof


@dataclass(frozen=True)
class Link:
    """What carries over from ``origin`` to the model of ``blueprint``.

    Attributes
    ----------
    origin
        Where the weights come from.
    rows
        One for every tensor that the model stores, in the order of its state dict.
    unused
        Source tensors that nothing receives.
    seed
        For what starts fresh.
    maps, waivers
        The user's ``REGEX=>TO`` and excused patterns, kept with the link.
    required
        Least share of the shared parameters; ``load`` refuses a link that covers less.
    notes
        What was done to the checkpoint on the way: wrappers stripped, averaged weights preferred.
    """

    origin: Origin
    blueprint: Blueprint | WholeBlueprint
    rows: tuple[Row, ...]
    unused: tuple[str, ...] = ()
    seed: int = 0
    maps: tuple[str, ...] = ()
    waivers: tuple[str, ...] = ()
    required: float = 0.95
    notes: tuple[str, ...] = ()

    @property
    def source(self) -> Source:
        """The source that the weights come from; raises ``LinkError`` where they come from elsewhere."""
        if self.origin.source is None:
            raise LinkError(f"{self.origin.name} is no source with preprocessing of its own")
        return self.origin.source

    @property
    def graft(self) -> Blueprint:
        """The blueprint of a trunk with heads; raises ``LinkError`` where the target is a module."""
        if not isinstance(self.blueprint, Blueprint):
            raise LinkError(
                f"the target {self.blueprint.name} is a module with a head of its own: load it with "
                "link.load(). To fine-tune it, link to data and name it as the network (network=, --network)"
            )
        return self.blueprint

    @property
    def coverage(self) -> Coverage:
        """The share of what is shared that receives source weights."""
        return measure(self.rows)

    @property
    def uncovered(self) -> tuple[Row, ...]:
        """Shared rows that receive nothing."""
        return tuple(row for row in self.rows if row.role == "shared" and not row.carried)

    def require(self, fraction: float = 0.95) -> Link:
        """The link, where at least ``fraction`` of the shared parameters carry over and no row conflicts.

        Raises ``LinkError`` that lists everything uncovered at once.
        """
        conflicts = [row for row in self.rows if row.conflict]
        if self.coverage.parameters >= fraction and not conflicts:
            return replace(self, required=fraction)
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
        sources = tuple(dict.fromkeys(name for row in self.rows for name in row.sources))
        return replace(self, rows=rows, unused=(*self.unused, *sources), seed=seed, required=0.0)

    def load(self) -> Any:
        """The target model with its weights, in ``eval`` mode, on the CPU.

        A module of the target's own class; a ``Grafted`` where the target is a Blueprint.

        Shared tensors that receive nothing are said out loud. Raises ``LinkError`` where a row conflicts and
        is not waived, or where less than ``required`` of the shared parameters carry over.
        """
        from regraft.linking.load import load_link

        conflicts = tuple(row for row in self.rows if row.conflict)
        if conflicts:
            raise LinkError(self._complaint(self.uncovered, "rows that do not fit cannot be loaded"))
        if self.required > 0:
            self.require(self.required)
        self._say_fresh()
        return load_link(self)

    @property
    def _specific(self) -> tuple[Row, ...]:
        """Rows of the target alone; a graft's heads are new by their nature and need no word."""
        specific = [row for row in self.rows if row.role == "specific" and not row.carried]
        if isinstance(self.blueprint, Blueprint):
            specific = [row for row in specific if not row.target.startswith(HEADS)]
        return tuple(specific)

    def _say_fresh(self) -> None:
        """Say every tensor that starts fresh, with the reason."""
        partly = tuple(row for row in self.rows if 0 < row.filled < 1)
        for rows, words in (
            (self.uncovered, "shared tensors receive nothing and start fresh"),
            (self._specific, "tensors of the target alone receive nothing and start fresh"),
            (partly, "tensors receive some of their rows, and the others start fresh"),
        ):
            unasked = [row for row in rows if row.rule not in MEANT_FRESH]
            if unasked:
                say("\n".join([f"{len(unasked)} {words}:", *format_rows(unasked)]))

    def verify(self, *inputs: Given, tolerance: float = 1e-5) -> Proof:
        """Run the source's own network beside the linked one on the same inputs and compare block by block.

        Each input is one call: a tensor, a tuple of arguments, or a mapping of named ones. Without inputs it
        runs on made-up ones. A checkpoint without a network is only looked at: that proves nothing, and the
        proof says so.
        """
        from regraft.linking.proving.proof import prove

        return prove(self, inputs, tolerance=tolerance)

    def fix(self, *inputs: Given, tolerance: float = 1e-5) -> Link:
        """The link with those hyper-parameters of the target set that make it compute what the source does.

        They are found by trying, each is proven by another run, and they stay with the link
        (``link.fixes``). The link itself comes back where nothing helps, or nothing needs to.
        """
        from regraft.linking.proving.causes import find_fixes

        fixes = find_fixes(self, inputs, tolerance=tolerance)
        return replace(self, blueprint=self.blueprint.fixed(fixes)) if fixes else self

    def decide(self, *inputs: Given, tolerance: float = 1e-5) -> Link:
        """The link with those rows changed that make the target compute what the source does.

        Where both networks depart, other source tensors of equal shape are tried, and other orders of q, k
        and v; what carries the agreement further is kept. The link itself comes back where nothing helps, or
        nothing needs to.
        """
        from regraft.linking.proving.decide import decide

        return decide(self, inputs, tolerance=tolerance)

    @property
    def fixes(self) -> tuple[Fix, ...]:
        """Hyper-parameters of the target that were set."""
        return self.blueprint.fixes

    def table(self, *, width: int = 80) -> str:
        """The rows as text, equal ones folded (``blocks.{0..15}``), what is unused, and the sums."""
        from regraft.linking.showing.summary import summarise

        return summarise(self, width=width)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "source": self.origin.name,
            "target": self.blueprint.name,
            "coverage": self.coverage.to_json(),
            "rows": [row.to_json() for row in self.rows],
            "unused": list(self.unused),
            "seed": self.seed,
            "maps": list(self.maps),
            "waivers": list(self.waivers),
            "required": self.required,
            "notes": list(self.notes),
            "fixes": [fix.to_json() for fix in self.fixes],
        }

    @classmethod
    def from_json(
        cls, data: dict[str, Any], source: Source | Origin, blueprint: Blueprint | WholeBlueprint
    ) -> Link:
        """A saved link, to be applied again without searching."""
        fixes = tuple(Fix.from_json(fix) for fix in data.get("fixes", ()))
        return cls(
            origin=source if isinstance(source, Origin) else Origin(source.name, source),
            blueprint=replace(blueprint, fixes=fixes),
            rows=tuple(Row.from_json(row) for row in data["rows"]),
            unused=tuple(data["unused"]),
            seed=data.get("seed", 0),
            maps=tuple(data.get("maps", ())),
            waivers=tuple(data.get("waivers", ())),
            required=data.get("required", 0.95),
            notes=tuple(data.get("notes", ())),
        )

    def _complaint(self, rows: Sequence[Row], demand: str) -> str:
        listed = "\n".join(_say_row(row) for row in rows)
        new = "".join(f"{_say_row(row)}\n" for row in self._specific)
        unused = ", ".join(self.unused[:12]) + (", .." if len(self.unused) > 12 else "")
        return (
            f"{self.origin.name}: {self.coverage.parameters:.1%} of the shared parameters carry over; "
            f"{demand}. Nothing reaches {len(rows)} tensors:\n{listed}\n"
            + (f"Of the target alone:\n{new}" if new else "")
            + f"unused source tensors: {unused or 'none'}\n"
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
        rule=FROM_SCRATCH,
        transform="",
        action="fresh",
        confidence=0.0,
        alternatives=(),
        recipe=None,
        conflict=False,
    )
