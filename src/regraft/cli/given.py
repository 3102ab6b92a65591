"""What was typed for options, as arguments; and an answer as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regraft.targets import Target


def names_of(text: str | None) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(name for name in (part.strip() for part in (text or "").split(",")) if name)


def open_target(
    data: Path | Sequence[str],
    *,
    label: list[str] | None = None,
    image: str | None = None,
    text: str | None = None,
    group: str | None = None,
    split: str | None = None,
    task: list[str] | None = None,
    drop_rare: bool = False,
    test_size: str | None = None,
    test_salt: str = "",
) -> Target:
    """Load the data that the options describe; several that have names become one target."""
    from regraft.targets import Target, load_target

    found = find_data(data)
    given = {"label": label, "image": image, "text": text, "group": group, "split": split}
    common: dict[str, Any] = {"drop_rare": True} if drop_rare else {}
    if isinstance(found, Path):
        target = load_target(found, **columns_of(found, given), **common, tasks=_kinds(task))
    else:
        columns = columns_of(found, given)
        target = Target.together(
            {
                name: load_target(
                    path,
                    **{option: values[name] for option, values in columns.items()},
                    **common,
                    tasks=_kinds_of(task, name, found),
                )
                for name, path in found.items()
            }
        )
    if test_size is None and not test_salt:
        return target
    return target.with_test(_share_or_count(test_size or "0.2"), salt=test_salt)


def find_data(given: Path | Sequence[str]) -> Path | dict[str, Path]:
    """Where data lie; by name where each is written NAME=DATA, and no such file is there."""
    from regraft.core.errors import UsageError

    if isinstance(given, Path):
        return given
    pairs = [text.partition("=") for text in given]
    named = [
        bool(sign and name and path) and not Path(name + sign + path).exists() for name, sign, path in pairs
    ]
    if len(given) == 1 and not named[0]:
        return Path(given[0])
    if not all(named):
        bare = given[named.index(False)]
        raise UsageError(f"{bare}: several targets need names, as in cells=cells/ digits=digits/")
    names = [name for name, _, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two targets are called {twice[0]}; each needs a name of its own")
    return {name: Path(path) for name, _, path in pairs}


def columns_of(data: Path | dict[str, Path], given: Mapping[str, list[str] | str | None]) -> dict[str, Any]:
    """What options say of columns, by option; where data have names, by these as well."""
    if isinstance(data, dict):
        return {
            option: {name: _addressed(value, name, data) for name in data} for option, value in given.items()
        }
    return {
        option: _one_or_more(value) if isinstance(value, list) else value for option, value in given.items()
    }


def _one_or_more(names: list[str] | None) -> str | list[str] | None:
    """A single name by itself, nothing where there is none."""
    return names[0] if names and len(names) == 1 else names or None


def _addressed(given: list[str] | str | None, name: str, data: Mapping[str, Path]) -> Any:
    """What of an option is for one of several targets: NAME.VALUE, else VALUE where it is a table."""
    from regraft.targets.loading import has_columns

    values = [given] if isinstance(given, str) else given or []
    heads = [(value.partition("."), value) for value in values]
    own = [rest for (first, sign, rest), _ in heads if sign and first == name]
    common = [value for (first, sign, _), value in heads if not (sign and first in data)]
    return _one_or_more(own or (common if has_columns(data[name]) else []))


def _kinds(given: list[str] | None) -> str | dict[str, str] | None:
    if not given:
        return None
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    return dict(_pair(one) for one in given)


def _kinds_of(given: list[str] | None, name: str, data: Mapping[str, Path]) -> str | dict[str, str] | None:
    """The kinds of task of one of several targets: NAME=KIND, or NAME.OUTPUT=KIND."""
    from regraft.core.errors import UsageError

    kinds = dict(_pair(one) for one in given or ())
    strange = [output for output in kinds if output.partition(".")[0] not in data]
    if strange:
        raise UsageError(f"--task {strange[0]}: there are {', '.join(data)}; write NAME.OUTPUT=KIND")
    if name in kinds:
        return kinds[name]
    own = {output.partition(".")[2]: kind for output, kind in kinds.items() if output.startswith(f"{name}.")}
    return own or None


def _pair(text: str) -> tuple[str, str]:
    from regraft.core.errors import UsageError

    output, separator, kind = text.partition("=")
    if not separator:
        raise UsageError(f"--task {text}: with several outputs write OUTPUT=KIND, as in price=regression")
    return output, kind


def streams_of(given: list[str] | None) -> dict[str, str]:
    """``NAME=DATA`` of each stream, by name."""
    from regraft.core.errors import UsageError

    pairs = [text.partition("=") for text in given or ()]
    for name, _, data in pairs:
        if not name or not data:
            raise UsageError(f"--stream {name}: write NAME=DATA, as in source=photos/")
    return {name: data for name, _, data in pairs}


def _share_or_count(text: str) -> float | int:
    from regraft.core.errors import UsageError

    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        raise UsageError(f"--test-size {text}: give a share such as 0.2 or a count such as 500") from None


def source_options(size: int | None, builder: str | None = None) -> dict[str, Any]:
    """What a source is opened with."""
    given = {"size": size, "builder": builder}
    return {name: value for name, value in given.items() if value is not None}


def seconds_of(text: str) -> float:
    """``90``, ``90s``, ``5m`` or ``2h`` in seconds."""
    from regraft.core.deadline import seconds_of as read

    return read(text)


def bytes_of(text: str | None) -> int | None:
    """``20GB`` in bytes; None where nothing was said."""
    from regraft.inference.cache import parse_size

    return None if text is None else parse_size(text)


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    json.dump(value, sys.stdout, ensure_ascii=False)
    sys.stdout.write("\n")
