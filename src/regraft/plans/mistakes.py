"""What is wrong with a plan, in the words of the file that somebody wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from regraft.core.spelling import did_you_mean
from regraft.plans.reading import Lines, Path
from regraft.plans.references import Problems
from regraft.plans.schema import STAGE_KINDS, Plan


def explain(error: ValidationError, data: Any, lines: Lines | None = None) -> str:
    """One line for each mistake: where it stands in the file, its path, what is wrong, what was meant."""
    found: dict[Path, list[str]] = {}
    for problem in error.errors():
        for path, message in _messages(problem, data):
            told = found.setdefault(path, [])
            if message not in told:
                told.append(message)
    return "\n".join(f"  {_place(path, data, lines)}: {' or '.join(told)}" for path, told in found.items())


def _messages(problem: Mapping[str, Any], data: Any) -> Iterator[tuple[Path, str]]:
    location, kind = problem["loc"], problem["type"]
    path = _in_data(location, data)
    raised = problem.get("ctx", {}).get("error")
    if isinstance(raised, Problems):
        yield from raised.found
    elif kind == "extra_forbidden":
        yield path, _unknown(path, data)
    elif kind == "missing":
        yield path, "is missing"
    elif kind == "too_short" and len(problem["input"]) >= problem["ctx"]["min_length"]:
        return  # items that are wrong are left out of the count
    elif kind.startswith("union_tag"):
        given = problem["ctx"].get("tag")
        said = "is missing" if given is None else f"there is no {given!r}"
        near = "" if given is None else did_you_mean(given, STAGE_KINDS)
        yield (*path, "kind"), f"{said}; there are: {', '.join(STAGE_KINDS)}{near}"
    else:
        given = problem["input"]
        got = f"; got {given!r}" if isinstance(given, str | int | float) else ""
        yield path, problem["msg"].removeprefix("Value error, ") + got


def _in_data(location: Sequence[str | int], data: Any) -> Path:
    """A place in the data; pydantic names the kinds that it tried, too, which nobody wrote."""
    path: list[str | int] = []
    node = data
    for number, part in enumerate(location):
        last = number == len(location) - 1
        if _holds(node, part):
            node = node[part]
        elif not (last and isinstance(node, Mapping)):
            continue
        path.append(part)
    return tuple(path)


def _holds(node: Any, part: str | int) -> bool:
    if isinstance(node, Mapping):
        return part in node
    return isinstance(node, list | tuple) and isinstance(part, int) and part < len(node)


def _place(path: Path, data: Any, lines: Lines | None) -> str:
    """``line 59, stages.tune.stop``: items that have a name are called by it, as in ``--set``."""
    words, node = [], data
    for part in path:
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            node = None
        name = node.get("name") if isinstance(node, Mapping) and isinstance(part, int) else None
        words.append(str(part if name is None else name))
    spelled = ".".join(words) or "plan"
    line = _line(path, lines or {})
    return spelled if line is None else f"line {line}, {spelled}"


def _line(path: Path, lines: Lines) -> int | None:
    """Of the place itself, or of what it is missing in."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


def _unknown(path: Path, data: Any) -> str:
    keys = sorted({key for part in _parts_at(path[:-1], data) for key in part.model_fields})
    there = f"; there are: {', '.join(keys)}"
    return f"there is no such key{did_you_mean(path[-1], keys) or there}"


def _parts_at(path: Path, data: Any) -> list[type[BaseModel]]:
    """The kinds of parts of a plan that may stand at a path."""
    parts, node, inside = [Plan], data, False
    found: list[type[BaseModel]] = list(parts)
    for key in path:
        node = node[key]
        if inside:  # a name or a number within a mapping or a list of parts
            inside = False
        else:
            hints = [part.model_fields[str(key)].annotation for part in found if key in part.model_fields]
            inside = any(get_origin(hint) in (dict, tuple) for hint in hints)
            found = [part for hint in hints for part in _parts_in(hint)]
        kind = node.get("kind") if isinstance(node, Mapping) else None
        alike = [part for part in found if kind and _default(part, "kind") == kind]
        found = alike or found
    return found


def _default(part: type[BaseModel], name: str) -> Any:
    return part.model_fields[name].default if name in part.model_fields else None


def _parts_in(hint: Any) -> list[type[BaseModel]]:
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return [hint]
    return [part for argument in get_args(hint) for part in _parts_in(argument)]
