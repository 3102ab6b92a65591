"""The Plan: what is done, stage by stage, as data."""

from regraft.plans.comparison import plan_changes
from regraft.plans.files import plan_from_yaml, plan_hash, plan_to_yaml, read_plan, write_plan
from regraft.plans.schema import (
    AverageStage,
    CombineSpec,
    DrawSpec,
    EditSpec,
    GroupSpec,
    Learned,
    MixSpec,
    ModelSpec,
    OptimiserSpec,
    Plan,
    RateSchedule,
    Schedule,
    SolveStage,
    Stage,
    StopSpec,
    StreamSpec,
    TermSpec,
    TrainStage,
)
from regraft.plans.settings import change_plan, has_setting

__all__ = [
    "AverageStage",
    "CombineSpec",
    "DrawSpec",
    "EditSpec",
    "GroupSpec",
    "Learned",
    "MixSpec",
    "ModelSpec",
    "OptimiserSpec",
    "Plan",
    "RateSchedule",
    "Schedule",
    "SolveStage",
    "Stage",
    "StopSpec",
    "StreamSpec",
    "TermSpec",
    "TrainStage",
    "change_plan",
    "has_setting",
    "plan_changes",
    "plan_from_yaml",
    "plan_hash",
    "plan_to_yaml",
    "read_plan",
    "write_plan",
]
