"""Rows as text: what is folded stands for exactly the rows that there are."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from regraft.linking.recipe import Recipe
from regraft.linking.row import Row
from regraft.linking.showing.folding import fold_names, fold_rows, merge_names, ranges
from regraft.linking.showing.summary import count
from regraft.linking.showing.table import format_rows, shorten


def row(target: str, source: str | None = None, **changes: object) -> Row:
    """A copied row, or a fresh one without a source."""
    copied = source is not None
    made = Row(
        target=target,
        source=source,
        rule="equal names" if copied else "no source tensor has this name",
        transform="",
        target_shape=(4,),
        source_shape=(4,) if copied else None,
        action="copied" if copied else "fresh",
        role="shared",
        confidence=1.0 if copied else 0.0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def spell_out(pattern: str) -> set[str]:
    """Every name that a pattern stands for."""
    parts = re.split(r"\{([^}]*)\}", pattern)
    choices = [[part] if place % 2 == 0 else _choices(part) for place, part in enumerate(parts)]
    return {"".join(chosen) for chosen in itertools.product(*choices)}


def _choices(text: str) -> list[str]:
    found: list[str] = []
    for part in text.split(","):
        low, dots, high = part.partition("..")
        found += [str(number) for number in range(int(low), int(high) + 1)] if dots else [part]
    return found


def test_two_levels_are_folded() -> None:
    rows = [
        row(f"layers.{i}.blocks.{j}.norm1.{leaf}", f"features.{i + 1}.{j}.norm1.{leaf}")
        for i in range(4)
        for j in range(2)
        for leaf in ("weight", "bias")
    ]
    (line,) = fold_rows(rows)
    assert line.target == "layers.{0..3}.blocks.{0..1}.norm1.{weight,bias}"
    assert line.source == "features.{1..4}.{0..1}.norm1.{weight,bias}"
    assert (line.count, line.parameters) == (16, 64)


def test_numbers_that_are_part_of_a_word_are_folded() -> None:
    rows = [
        row(f"blocks.{i}.attn.qkv.weight", f"encoder.layers.encoder_layer_{i}.self_attention.in_proj_weight")
        for i in range(12)
    ]
    (line,) = fold_rows(rows)
    assert line.source == "encoder.layers.encoder_layer_{0..11}.self_attention.in_proj_weight"


def test_uneven_depths_are_told_apart() -> None:
    names = [f"layers.{i}.{j}.weight" for i, depth in enumerate((2, 2, 6, 2)) for j in range(depth)]
    assert [line.target for line in fold_rows([row(name, name) for name in names])] == [
        "layers.{0..1,3}.{0..1}.weight",
        "layers.2.{0..5}.weight",
    ]


@given(st.sets(st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from("ab")), min_size=1))
def test_a_fold_stands_for_its_rows_and_no_others(places: set[tuple[int, int, str]]) -> None:
    names = {f"net.{i}.part.{j}.{leaf}" for i, j, leaf in places}
    lines = fold_rows([row(name, name) for name in sorted(names)])
    spelt = [spell_out(line.target) for line in lines]
    assert set().union(*spelt) == names
    assert sum(map(len, spelt)) == sum(line.count for line in lines) == len(names)
    folded = fold_names(sorted(names))
    assert sorted(name for _, members in folded for name in members) == sorted(names)


def test_several_sources_are_one_pattern() -> None:
    names = tuple(f"layer.0.self.{part}.weight" for part in ("query", "key", "value"))
    assert merge_names(names) == "layer.0.self.{query,key,value}.weight"
    assert merge_names(("a.weight", "b.c.bias")) == "a.weight +1"
    fused = row("blocks.0.qkv.weight", names[0], recipe=Recipe(names).then("concatenate"), transform="fused")
    (line,) = fold_rows([fused])
    assert line.source == "layer.0.self.{query,key,value}.weight"
    assert line.reason == "fused; equal names"


def test_doubt_and_conflict_are_marked() -> None:
    unsure = row("a.weight", "x.weight", confidence=0.475, alternatives=("y.weight", "z.weight"))
    clash = replace(row("b.weight"), source="b.weight", source_shape=(5,), conflict=True)
    table = "\n".join(format_rows([unsure, clash]))
    assert "0.47 sure" in table or "0.48 sure" in table
    assert "or y.weight +1" in table
    assert "CONFLICT" in table


@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize("folded", [True, False])
def test_no_line_is_wider_than_asked(width: int, folded: bool) -> None:
    long = "encoder.layers.{}.a_very_long_module_name.another_long_name.and_one_more.weight"
    rows = [
        row(long.format(i), "network." + long.format(i), rule="found by " + "word " * 30) for i in range(3)
    ]
    lines = format_rows(rows, width=width, folded=folded)
    assert max(map(len, lines)) <= width
    assert sum("copied" in line for line in lines) == (1 if folded else 3)


def test_a_wide_table_has_a_column_for_the_source() -> None:
    lines = format_rows([row("a.weight", "x.a.weight"), row("b.weight", "b.weight")], width=120)
    assert "source" in lines[0]
    assert "x.a.weight" in lines[2]
    assert "the same" in lines[3]


def test_small_words() -> None:
    assert ranges([3, 1, 2, 7]) == "1..3,7"
    assert shorten("abcdefghij", 6) == "ab..ij"
    assert [count(n) for n in (0, 640, 49_200, 1_281_000, 3_000_000_000)] == [
        "0",
        "640",
        "49.2 k",
        "1.28 M",
        "3 G",
    ]
