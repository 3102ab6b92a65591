"""delta: fine-tuning whose activations are held to the source's."""

from __future__ import annotations

from regraft.plans import Plan, SolveStage, TermSpec
from regraft.strategies.base import check_blocks, last_blocks, tuned_plan
from regraft.strategies.strategy import Situation, Strategy

ALPHA, BETA = 0.01, 0.01


class Delta(Strategy):
    """``lpft`` with the term ``delta`` (``terms/delta.py``): what blocks give stays what they gave.

    ``L = supervised + alpha sum_b 1/(2 P_b) sum_c a_bc |F_bc(w, x) - F_bc(w^0, x)|^2 + beta/2 |w_S'|^2``:
    F_bc is channel c of the activation after block b, maps or token sequences, P_b its places, a_bc how much
    the solved head hangs on the channel, w_S' are the new weights. ``delta:5`` tunes the last 5 blocks,
    ``delta:all`` every one; each tuned block is compared. ``--set terms.1.options.attention=equal`` lets all
    channels count alike (the paper's DELTA w/o ATT).

    Source: Li et al. (2019), alpha and beta 0.01 as there. Changed for small data: the head starts solved and
    the last blocks are tuned (as ``lpft`` does); the attention is that of a solved head (theirs is trained by
    gradient steps) and to first order, one pass instead of one for each channel.
    """

    name = "delta"
    takes = "how many of the last blocks are tuned (3), or all"
    when = "as l2sp, where what layers say matters more than which weights say it"
    cite = "Li et al.: DELTA: deep learning transfer using feature map with attention. ICLR 2019"

    def check_argument(self) -> None:
        """A number of blocks, or ``all``."""
        check_blocks(self.name, self.argument)

    def plan(self, situation: Situation) -> Plan:
        """The plan of lpft with the linked model beside it, as it was, and two terms more."""
        tuned = last_blocks(situation, self.argument)
        terms = (
            TermSpec(
                computes="delta",
                weight=ALPHA,
                models=("student", "start"),
                streams=("target",),
                options={"blocks": list(tuned), "attention": "learned"},
            ),
            TermSpec(computes="l2sp", streams=("target",), options={"alpha": 0.0, "beta": BETA}),
        )
        attend = SolveStage(name="attend", solver="ridge", model="start")
        return tuned_plan(
            self.name,
            situation,
            argument=self.argument,
            terms=terms if tuned else (),
            models={"start": situation.student()["student"]},
            before=(attend,) if tuned else (),
            weight_decay=0.0,
        )
