"""Proof: the source's own network and the linked one, run side by side on the same inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from regraft.linking.network import Given
from regraft.linking.proving.compare import relative_difference
from regraft.linking.proving.prepared import compare_preprocessing

if TYPE_CHECKING:
    from regraft.linking.link import Link
    from regraft.linking.proving.bench import Bench

__all__ = ["Proof", "prove", "relative_difference"]


@dataclass(frozen=True)
class Proof:
    """What running both networks showed.

    Attributes
    ----------
    proven
        Whether both were run on the same inputs and agree within ``tolerance`` on all of them.
    max_relative_difference
        The largest difference of a compared value, over the largest value of the source; infinite where
        nothing could be compared.
    first_difference
        The target's first block whose output departs; None where none does.
    causes
        Likely causes, found by trying; empty where both agree.
    differences
        The relative difference after each block, or of each module that has a counterpart, in the target's
        order; the last one is that of the compared values.
    compared
        What was compared: ``features``, ``outputs``, or what enters a new head.
    first_module
        The module in that block where they part; empty where that is not known.
    unseen
        Carried tensors that could not have changed what was compared: nothing is shown of them.
    reason
        Why nothing is proven although no difference shows, or why nothing could be compared.
    notes
        What else a reader has to know: positions left out, tables of which few rows were read.
    preprocessing
        Steps of preprocessing that differ between source and target.
    statistics
        What a look at the tensors alone showed, where there is no network to compare with.
    """

    proven: bool
    max_relative_difference: float
    first_difference: str | None
    causes: tuple[str, ...] = ()
    differences: tuple[tuple[str, float], ...] = ()
    tolerance: float = 1e-5
    compared: str = "features"
    first_module: str = ""
    unseen: tuple[str, ...] = ()
    reason: str = ""
    notes: tuple[str, ...] = ()
    preprocessing: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        return "; ".join([self._verdict(), *self._reservations()])

    def _verdict(self) -> str:
        largest = f"max relative difference {self.max_relative_difference:.1e}"
        if self.proven and self.compared.startswith("what enters"):
            head = self.compared.removeprefix("what enters ")
            return f"proven up to {head}: both networks give the same there ({largest})"
        if self.proven:
            return f"proven: both networks give the same {self.compared} ({largest})"
        if self.reason:
            return f"not proven: {self.reason}"
        where = f", first after {self.first_difference}" if self.first_difference else ""
        return f"not proven: the {self.compared} differ{where} ({largest})"

    def _reservations(self) -> list[str]:
        said = list(self.causes)
        if self.unseen:
            listed = ", ".join(self.unseen[:6]) + (", .." if len(self.unseen) > 6 else "")
            said.append(f"nothing is shown of {len(self.unseen)} tensors that changed nothing here: {listed}")
        return said

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; a difference that is not finite is null."""
        data = asdict(self)
        data["differences"] = [[name, _finite(value)] for name, value in self.differences]
        data["max_relative_difference"] = _finite(self.max_relative_difference)
        return {**data, "sentence": self.sentence}


def prove(link: Link, inputs: Sequence[Given], *, tolerance: float, causes: bool = True) -> Proof:
    """Run both networks on these inputs and on made-up ones, and compare them.

    ``causes`` asks to look for the reason where they differ, by trying hyper-parameters of the target.
    """
    from regraft.linking.load import NotFiniteError
    from regraft.linking.proving.inputs import NotSharedError

    try:
        proof = _compare(link, inputs, tolerance, causes)
    except (NotSharedError, NotFiniteError) as error:
        proof = Proof(False, math.inf, None, tolerance=tolerance, compared="nothing", reason=str(error))
    return replace(proof, preprocessing=_preprocessing(link))


def _compare(link: Link, inputs: Sequence[Given], tolerance: float, causes: bool) -> Proof:
    from regraft.linking.proving.bench import open_bench
    from regraft.linking.proving.judge import judge
    from regraft.linking.proving.sanity import look_at

    if not link.origin.runs:
        return look_at(link, inputs, tolerance=tolerance)
    bench = open_bench(link, inputs, tolerance)
    proof = judge(bench)
    if proof.proven and proof.max_relative_difference > tolerance / 10:
        proof = _doubt_narrow(bench, proof)
    if causes and not proof.proven and not proof.reason:
        from regraft.linking.proving.causes import find_causes

        proof = replace(proof, causes=find_causes(bench))
    return proof


def _doubt_narrow(bench: Bench, proof: Proof) -> Proof:
    """What agrees only just may differ on other inputs: does another setting make it agree much better?"""
    from regraft.linking.proving.causes import find_closer

    closer = find_closer(bench)
    if not closer:
        return proof
    reason = (
        f"they agree only just ({proof.max_relative_difference:.1e}) and much better with another setting"
    )
    return replace(proof, proven=False, reason=reason, causes=(closer,))


def _preprocessing(link: Link) -> tuple[str, ...]:
    ours = getattr(link.blueprint, "source", None)
    theirs = link.origin.source
    if ours is None or theirs is None:
        return ()
    return compare_preprocessing(theirs.preprocessing, ours.preprocessing)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
