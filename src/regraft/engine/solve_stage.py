"""A solve stage: closed forms and convex problems on frozen features."""

from __future__ import annotations

import numpy as np
import torch

from regraft.engine.workspace import Workspace
from regraft.linking.grafted import head_key
from regraft.plans import SolveStage
from regraft.terms import find_solver


def run_solve_stage(stage: SolveStage, work: Workspace) -> None:
    """Fit the heads of the stage's outputs and write them into the model.

    The choice along the grid is made on the training examples alone; with ``refit`` the chosen one is fitted
    once more on train and validation together.
    """
    train = work.draw.train
    used = np.sort(np.concatenate([train, work.draw.validation])) if stage.refit else train
    features = work.features(stage.model, used).numpy()
    with work.spending(stage.name):
        for output in stage.outputs or tuple(work.tasks):
            _solve_output(stage, work, output, used, features)
        work.processes.spread([*work.models[stage.model].heads.parameters()])


def _solve_output(
    stage: SolveStage, work: Workspace, output: str, used: np.ndarray, features: np.ndarray
) -> None:
    solver, task = find_solver(stage.solver), work.tasks[output]
    labels = work.target.labels(used)[output]
    inside = np.isin(used, work.draw.train)
    solution = solver(features[inside], labels[inside], task, **stage.options)
    work.history.add(
        {"stage": stage.name, "kind": "solve", "solver": stage.solver, "output": output, **solution.history}
    )
    if stage.refit:
        # One penalty leaves nothing to choose, but rows are held out once more for the temperature: that of
        # the training rows alone raised the test log-loss of digits by 3% (60 and 300 labels).
        solution = solver(features, labels, task, **{**stage.options, "grid": [solution.history["chosen"]]})
    # A least-squares head's outputs are no logits; what prediction and a later stage read has to be.
    solution = solution.calibrated()
    key = head_key(output)
    head = work.models[stage.model].heads[key]
    assert isinstance(head, torch.nn.Linear)
    task.fill_head(head, torch.from_numpy(solution.weight), torch.from_numpy(solution.bias))
    work.trained.update(f"heads.{key}.{name}" for name, _ in head.named_parameters())
