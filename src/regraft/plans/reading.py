"""YAML as people write it by hand: plain data, and on which line each of them stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from regraft.core.errors import PlanError

Path = tuple[str | int, ...]
"""Keys and numbers of items, from the top down to one value."""
Lines = Mapping[Path, int]
"""By path, the line on which it begins, from 1; a key's value stands where the key stands."""

_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$")
_RANGE = re.compile(r"\[[^\]]*\{\d+\.\.\d+\}")


class _Loader(yaml.SafeLoader):
    """YAML without code, in which ``1e-3`` is a number, as people mean it; YAML 1.1 has it for a word."""


class _Dumper(yaml.SafeDumper):
    """Quotes what :class:`_Loader` would take for a number."""


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+0123456789"))


def write_yaml(data: Any) -> str:
    """Plain data as YAML that :func:`read_yaml` reads back as it was."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def read_yaml(text: str, *, origin: str) -> tuple[Any, Lines]:
    """What the text says, and where. No code is run.

    Raises :class:`PlanError` with the line for what is no YAML, and for a key that is there twice, of which
    YAML would silently take the last.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Path, int] = {}
        twice = _walk(node, (), lines, set()) if node is not None else []
        data = loader.construct_document(node) if node is not None else None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise PlanError(f"{origin} is no YAML: {_said(error, text)}") from error
    finally:
        loader.dispose()
    if twice:
        raise PlanError(f"{origin} does not hold:\n" + "\n".join(f"  {one}" for one in twice))
    return data, lines


def _walk(node: yaml.Node, path: Path, lines: dict[Path, int], seen: set[int]) -> list[str]:
    """Write down where everything below a node stands; says which keys are there twice.

    What an alias names again is ``seen`` and not walked again, or a few lines could keep this busy for ever.
    """
    lines.setdefault(path, node.start_mark.line + 1)
    if id(node) in seen:
        return []
    seen.add(id(node))
    twice: list[str] = []
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            twice += _walk(item, (*path, number), lines, seen)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below, line = (*path, str(key.value)), key.start_mark.line + 1
            if below in lines:
                twice.append(f"line {line}: {key.value} is said on line {lines[below]} already; keep one")
                continue
            lines[below] = line
            twice += _walk(value, below, lines, seen)
    return twice


def _said(error: Exception, text: str) -> str:
    """Where it goes wrong, what stands there, and what it often is."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return str(error)
    line = text.splitlines()[mark.line] if mark.line < len(text.splitlines()) else ""
    problem = getattr(error, "problem", None) or "it cannot be read"
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}\n  {line.strip()}{_hint(line)}"


def _hint(line: str) -> str:
    if _RANGE.search(line):
        return "\nPut a pattern with braces into quotes, or on a line of its own: - blocks.{9..11}"
    if re.search(r"[-:\[,]\s*\*", line):
        return "\nPut a pattern that begins with * into quotes: - '*.bias'"
    if "\t" in line:
        return "\nYAML is indented with spaces, not with tabs"
    return ""
