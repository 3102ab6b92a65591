"""distil: fine-tuning that listens to a teacher."""

from __future__ import annotations

from regraft.plans import ModelSpec, Plan, SolveStage, TermSpec
from regraft.strategies.base import tuned_plan
from regraft.strategies.strategy import Situation, Strategy

WEIGHT, TEMPERATURE = 1.0, 2.0


class Distil(Strategy):
    """``lpft`` with the term ``distillation`` (``terms/distillation.py``): predictions like a teacher's.

    ``L = supervised + T^2 KL(softmax(t / T) || softmax(s / T))``, s and t the logits of student and teacher.
    ``distil:SOURCE`` names the teacher's source, a bigger one: the head that it gets is solved on the target
    first. The teacher may be a finished run on the same classes, ``distil:bundle:DIR``, whose own head is
    used. Without a name the teacher is the student's source itself, with a solved head: the probe then
    holds back the fine-tuning.

    Source: Hinton, Vinyals, Dean (2015). Changed for small data: T 2, for a solved head's probabilities are
    calibrated already; both parts of the loss count alike.
    """

    name = "distil"
    takes = "the teacher's source (the student's own), or bundle:DIR, a finished run on the same classes"
    when = "a small model is wanted, and a bigger source does better than it"
    cite = (
        "Hinton, Vinyals, Dean: Distilling the knowledge in a neural network. NeurIPS deep learning workshop "
        "2014, arXiv:1503.02531"
    )

    def check_argument(self) -> None:
        """The name of a source, which is opened when the plan is carried out."""

    def plan(self, situation: Situation) -> Plan:
        """The plan of lpft with a teacher, its head, and one term more."""
        taught = SolveStage(name="teach", solver="ridge", model="teacher")
        finished = self.argument.startswith("bundle:")
        term = TermSpec(
            computes="distillation",
            models=("student", "teacher"),
            streams=("target",),
            weight=WEIGHT,
            options={"temperature": TEMPERATURE},
        )
        return tuned_plan(
            self.name,
            situation,
            terms=(term,),
            models={"teacher": self._teacher(situation)},
            before=() if finished else (taught,),
        )

    def _teacher(self, situation: Situation) -> ModelSpec:
        student = situation.student()["student"]
        if not self.argument or self.argument == student.source:
            return student
        # A finished run reads what it was trained for; other sources read what the student does, if they can.
        return ModelSpec(source=self.argument)
