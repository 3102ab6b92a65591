"""Plans on disk: YAML, read strictly and written so that a person can edit it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from regraft.core.errors import PlanError
from regraft.core.files import write_text
from regraft.core.hashing import hash_json
from regraft.plans.mistakes import explain
from regraft.plans.reading import Lines, read_yaml, write_yaml
from regraft.plans.schema import PLAN_VERSION, READABLE_VERSIONS, Plan


def plan_to_yaml(plan: Plan) -> str:
    """The plan as YAML. Values that are their defaults are left out, but for the version."""
    data = {"version": plan.version, **plan.model_dump(mode="json", exclude_defaults=True)}
    for stage, written in zip(plan.stages, data["stages"], strict=True):
        written["kind"] = stage.kind
    ordered = {key: data[key] for key in Plan.model_fields if key in data}
    ordered["stages"] = [_head_first(stage) for stage in ordered["stages"]]
    return write_yaml(ordered)


def _head_first(stage: dict[str, Any]) -> dict[str, Any]:
    return {"name": stage["name"], "kind": stage["kind"], **stage}


def plan_from_yaml(text: str, *, origin: str = "the plan") -> Plan:
    """Read a plan. Raises :class:`PlanError` that lists everything that is wrong with it at once."""
    data, lines = read_yaml(text, origin=origin)
    if not isinstance(data, dict):
        raise PlanError(f"{origin} holds no plan: a mapping with models, streams and stages is expected")
    if data.get("version", PLAN_VERSION) not in READABLE_VERSIONS:
        *earlier, last = map(str, READABLE_VERSIONS)
        readable = f"{', '.join(earlier)} and {last}"
        raise PlanError(
            f"{origin} has version {data['version']!r}; this regraft reads versions {readable}. "
            "Write it anew with `regraft plan`."
        )
    return plan_from_data(data, origin=origin, lines=lines)


def plan_from_data(data: dict[str, Any], *, origin: str = "the plan", lines: Lines | None = None) -> Plan:
    """Validate plain data as a plan; errors as :func:`plan_from_yaml`, with the lines that data came from."""
    try:
        return Plan.model_validate(data)
    except ValidationError as error:
        raise PlanError(f"{origin} does not hold:\n{explain(error, data, lines)}") from error


def read_plan(path: str | Path) -> Plan:
    """Read a plan file."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"the plan {path} cannot be read: {error}") from error
    return plan_from_yaml(text, origin=str(path))


def write_plan(plan: Plan, path: str | Path) -> None:
    """Write a plan file atomically."""
    write_text(path, plan_to_yaml(plan))


def plan_hash(plan: Plan) -> str:
    """Hash of what a plan says; what later versions can say and it does not leaves it alone."""
    return hash_json({"version": plan.version, **plan.model_dump(mode="json", exclude_defaults=True)})
