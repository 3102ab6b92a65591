"""The distillation term: the student's predictions are to be those of its teachers, softened."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from regraft.tasks import Task
from regraft.terms.options import number
from regraft.terms.term import StageContext, StepContext, Term, TermValue

TEMPERATURE = 2.0
MODELS = 9
"""A student and at most so many teachers less one: each of them runs on every example."""


class Distillation(Term):
    """Distilling the knowledge in a neural network (Hinton, Vinyals & Dean 2015).

    ``L = T^2/N sum_i KL(softmax(t_i / T) || softmax(s_i / T))``, summed over outputs,

    with ``s_i``, ``t_i`` (``Float[Tensor, "K"]``) the logits of student and teacher for example i, T the
    temperature and N the size of the batch. T^2 keeps gradients of one size whatever T is. For a multilabel
    output the divergence is that of each label's own two probabilities, averaged over labels; for a number it
    is half the squared difference of both values, in units of the training labels' variance, and T plays no
    part.

    It reads the student and then one or several teachers, one stream and no label, so that it is at home on
    unlabelled examples as well. Several teachers k are an ensemble (section 3 of the paper):
    ``1/K sum_k softmax(t_ik / T)`` takes the place of ``softmax(t_i / T)``, and the mean that of values. A
    teacher has a head for each output: one that was fitted by an earlier stage, or that of a finished run.
    Options: ``temperature`` (2).
    """

    takes: ClassVar[tuple[str, ...]] = ("temperature",)
    reads_models: ClassVar[tuple[int, int]] = (2, MODELS)

    def __init__(self, **given: Any):
        super().__init__(**given)
        self.temperature = number(self.options, "temperature", TEMPERATURE, positive=True)

    def prepare(self, stage: StageContext) -> None:
        """Frozen teachers have to have something to say."""
        for teacher in self.models[1:]:
            if teacher in stage.frozen:
                stage.must_know(teacher, self.looked_at(stage.tasks))

    def __call__(self, context: StepContext) -> TermValue:
        """See :class:`Term`."""
        stream = self.streams[0]
        student, *teachers = (context.outputs(model, stream) for model in self.models)
        parts = [
            _apart(student[name], [one[name].detach() for one in teachers], task, self.temperature)
            for name, task in _tasks_of(self, context.tasks).items()
        ]
        per_example = torch.stack(parts).sum(0) / max(context.sizes[stream], 1)
        return TermValue(per_example.sum(), per_example.detach())


def _tasks_of(term: Term, tasks: Mapping[str, Task]) -> dict[str, Task]:
    return {name: tasks[name] for name in term.looked_at(tasks)}


def _apart(student: Tensor, teachers: Sequence[Tensor], task: Task, temperature: float) -> Tensor:
    """How far each example's prediction is from the teachers', ``Float[Tensor, "examples"]``."""
    if task.spec.kind == "regression":
        return task.loss(student, torch.stack([one[:, 0] for one in teachers]).mean(0)) / 2
    if task.spec.kind == "multilabel":
        student, *teachers = (torch.stack([z, torch.zeros_like(z)], dim=-1) for z in (student, *teachers))
    wanted = _mean_log_probabilities([(one / temperature).log_softmax(-1) for one in teachers])
    given = (student / temperature).log_softmax(-1)
    divergence = functional.kl_div(given, wanted, reduction="none", log_target=True).sum(-1)
    return temperature**2 * (divergence.mean(-1) if divergence.ndim > 1 else divergence)


def _mean_log_probabilities(logs: Sequence[Tensor]) -> Tensor:
    """The logarithm of the mean of probabilities; of one alone it is that one to the bit."""
    return logs[0] if len(logs) == 1 else torch.stack(list(logs)).logsumexp(0) - math.log(len(logs))


class DistilFeatures(Term):
    """Features as the teacher's (in the spirit of Romero et al. 2015, "FitNets", at the last layer).

    ``L = 1/(2 N) sum_i mean_j (s_ij / |s_i| - t_ij / |t_i|)^2 d = 1/N sum_i (1 - cos(s_i, t_i))``

    with ``s_i``, ``t_i`` (``Float[Tensor, "d"]``) the pooled features of student and teacher, so that
    their scales play no part. Both have one width. It reads two models, student and teacher in this order,
    one stream and no label.
    """

    reads_models: ClassVar[tuple[int, int]] = (2, 2)

    def prepare(self, stage: StageContext) -> None:
        """Both widths have to be equal."""
        stage.same_width(self.name, *self.models)

    def __call__(self, context: StepContext) -> TermValue:
        """See :class:`Term`."""
        stream = self.streams[0]
        student, teacher = (context.features(model, stream) for model in self.models)
        near = functional.cosine_similarity(student, teacher.detach(), dim=1)
        per_example = (1 - near) / max(context.sizes[stream], 1)
        return TermValue(per_example.sum(), per_example.detach())
