"""distil: fine-tuning that listens to a teacher."""

from __future__ import annotations

from regraft.core.errors import PlanError
from regraft.plans import ModelSpec, Plan, SolveStage, TermSpec
from regraft.sources.registry import parts_of
from regraft.strategies.base import tuned_plan
from regraft.strategies.strategy import Situation, Strategy

WEIGHT, TEMPERATURE = 1.0, 2.0


class Distil(Strategy):
    """``lpft`` with the term ``distillation`` (``terms/distillation.py``): predictions like a teacher's.

    ``L = supervised + T^2 KL(softmax(t / T) || softmax(s / T))``, s and t the logits of student and teacher.
    ``distil:SOURCE`` names the teacher's source, a bigger one: the head that it gets is solved on the target
    first. ``distil:SOURCE+SOURCE+..`` names several teachers, each with its own head: the mean of their
    softened probabilities is what the student is to say. A teacher may be a finished run on the same classes,
    ``distil:bundle:DIR``, whose own head is used. Without a name the teacher is the student's source itself,
    with a solved head: the probe then holds back the fine-tuning.

    Source: Hinton, Vinyals, Dean (2015). Changed for small data: T 2, for a solved head's probabilities are
    calibrated already; both parts of the loss count alike.
    """

    name = "distil"
    takes = (
        "the teacher's source (the student's own), or bundle:DIR, a finished run on the same classes; A+B "
        "for several teachers"
    )
    when = "a small model is wanted, and a bigger source, or several together, do better than it"
    cite = (
        "Hinton, Vinyals, Dean: Distilling the knowledge in a neural network. NeurIPS deep learning workshop "
        "2014, arXiv:1503.02531"
    )

    def check_argument(self) -> None:
        """The name of a source, which is opened when the plan is carried out."""

    def plan(self, situation: Situation) -> Plan:
        """The plan of lpft with teachers, their heads, and one term more."""
        teachers = self._teachers(situation)
        solved = {name: spec for name, spec in teachers.items() if not spec.source.startswith("bundle:")}
        term = TermSpec(
            computes="distillation",
            models=("student", *teachers),
            streams=("target",),
            weight=WEIGHT,
            options={"temperature": TEMPERATURE},
        )
        before = [
            SolveStage(name=name.replace("teacher", "teach"), solver="ridge", model=name) for name in solved
        ]
        return tuned_plan(self.name, situation, terms=(term,), models=teachers, before=before)

    def _teachers(self, situation: Situation) -> dict[str, ModelSpec]:
        names = parts_of(self.argument)
        twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
        if twice is not None:
            raise PlanError(f"distil:{self.argument} names the teacher {twice} twice; leave one out")
        specs = [_teacher(situation, name) for name in names]
        if len(specs) == 1:
            return {"teacher": specs[0]}
        return {f"teacher-{number}": spec for number, spec in enumerate(specs, start=1)}


def _teacher(situation: Situation, name: str) -> ModelSpec:
    student = situation.student()["student"]
    if not name or name == student.source:
        return student
    # A finished run reads what it was trained for; other sources read what the student does, if they can.
    return ModelSpec(source=name)
