"""The whole cascade on networks of the tests' own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import regraft as rg
from regraft.choosing.ranking.budget import Clock
from regraft.choosing.ranking.cascade import Cascade
from regraft.core.preprocessing import TextPreprocessing
from regraft.inference import Embedder
from regraft.sources import Source
from regraft.targets import Target
from tests.choosing.ranking.conftest import Broken

Make = Callable[..., Source]
SETTINGS = rg.Settings("cpu", backend="eager", compile="never")


@pytest.fixture(scope="module")
def board(digits: Target, source: Make) -> rg.Board:
    """A good network, its twin under another name, one that sees no shapes, and one that is broken."""
    sources = [
        source("good"),
        source("twin"),
        source("blind", whole=False),
        source("broken", Broken),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Target, "open_test", lambda *_: pytest.fail("the test part was opened"))
        return rg.rank(digits, sources, budget=None, settings=SETTINGS)


def row(board: rg.Board, name: str) -> object:
    return next(one for one in board.rows if one.name == name)


def test_a_board_ends_in_a_decision(board: rg.Board) -> None:
    decisions = {one.name: one.decision for one in board.rows}
    assert decisions["blind"] == "dropped"
    assert decisions["broken"] == "failed"
    assert sorted((decisions["good"], decisions["twin"])) == ["as good as best", "best"]
    assert board.rows[0].decision == "best"
    assert "cannot be told apart" in board.sentence
    assert "The naive choice (most parameters) is" in board.sentence
    assert isinstance(board.best, Source)
    assert board.best.name == board.rows[0].name


def test_rows_say_what_was_found(board: rg.Board) -> None:
    best, blind, broken = board.rows[0], row(board, "blind"), row(board, "broken")
    assert best.low < best.predicted < best.high
    assert best.stage == "race"
    assert best.examples == board.labels
    assert blind.stage == "first look"
    assert blind.examples == 256
    assert "256 examples" in blind.reason
    assert "behind" in blind.reason
    assert blind.high < best.predicted
    assert "not finite" in broken.reason
    assert all(one.seconds > 0 and one.memory > 0 for one in (best, blind))
    assert best.licence == "not stated"
    assert sum(one.chance for one in board.contenders) == pytest.approx(1.0)


def test_a_board_survives_json_and_prints(board: rg.Board) -> None:
    again = rg.Board.from_json(json.loads(json.dumps(board.to_json())))
    assert again == board
    assert again.best == board.rows[0].name
    table = board.table()
    assert all(one.name in table for one in board.rows)
    assert "80% interval" in table
    assert row(board, "blind").reason in table


def test_labels_of_the_test_part_play_no_part(digits: Target, source: Make) -> None:
    labels = digits._labels["label"].copy()
    labels[digits.test] = np.roll(labels[digits.test], 1)
    scrambled = replace(digits, _labels={"label": labels})
    rows = []
    for target in (digits, scrambled):
        found = rg.rank(target, [source("good"), source("blind", whole=False)], settings=SETTINGS)
        rows.append([replace(one, seconds=None, memory=None) for one in found.rows])
    assert rows[0] == rows[1]


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_ranking_goes_on(
    digits: Target, source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, kept = Embedder._put, [0]

    def counting(self: Embedder, shelf: object, pieces: np.ndarray, *rest: object) -> None:
        kept[0] += len(pieces)
        put(self, shelf, pieces, *rest)

    monkeypatch.setattr(Embedder, "_put", counting)
    other = source("other", width=5)
    with monkeypatch.context() as patch:
        patch.setattr(Cascade, "_decide", interrupt)
        with pytest.raises(KeyboardInterrupt):
            rg.rank(digits, [other], settings=SETTINGS)
    assert kept == [256]
    board = rg.rank(digits, [other], settings=SETTINGS)
    assert kept == [256]
    assert "only candidate" in board.sentence


class Spent(Clock):
    """A clock on which the first look takes all the time that there is."""

    asked = 0

    @property
    def left(self) -> float:
        self.asked += 1
        return 1e6 if self.asked <= 2 else 0.0  # opening and the first look


def test_what_a_budget_cuts_is_said_in_its_order(
    digits: Target, source: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [source("one"), source("other")]
    with monkeypatch.context() as patch:
        patch.setattr("regraft.api.rank.Clock", Spent)
        board = rg.rank(digits, sources, budget=60.0, settings=SETTINGS)
    assert [sentence.split(":")[0] for sentence in board.skipped] == [
        "more than 256 examples",
        "a race between 2 sources",
        "what fine-tuning takes",
    ]
    assert [one.examples for one in board.contenders] == [256, 256]
    with pytest.raises(rg.BudgetError, match="--budget"):
        rg.rank(digits, sources, budget=1e-4, settings=SETTINGS)


@pytest.mark.parametrize("kind", ["multilabel", "regression", "twelve", "lonely"])
def test_other_tasks_and_few_examples(kind: str, source: Make) -> None:
    random = np.random.default_rng(0)
    count = 12 if kind == "twelve" else 60
    images = random.integers(0, 255, (count, 8, 8), dtype=np.uint8)
    bright = images[:, :4].mean(axis=(1, 2))
    labels: object = np.where(bright > np.median(bright), "bright", "dark")
    if kind == "multilabel":
        left = images[:, :, :4].mean(axis=(1, 2))
        labels = np.stack([bright > np.median(bright), left > np.median(left)], axis=1).astype(int)
    elif kind == "regression":
        labels = bright + 0.5
    elif kind == "twelve":
        labels = np.where(np.arange(count) % 2 == 0, "even", "odd")
    elif kind == "lonely":
        labels = np.where(np.arange(count) < 2, "rare", labels)
    target = Target.from_arrays(images, labels)
    sources = [source("good"), source("blind", whole=False)]
    board = rg.rank(target, sources, budget=20.0, settings=SETTINGS)
    best = board.rows[0]
    assert best.decision == "best"
    assert best.low <= best.predicted <= best.high
    assert board.higher_is_better is (kind != "regression")
    if kind == "twelve":
        assert len(board.contenders) == 2  # so few examples tell nothing


def test_mistakes_are_answered_in_a_sentence(
    digits: Target, source: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    good = source("good")
    text = replace(good, name="reader", preprocessing=TextPreprocessing(b""))
    board = rg.rank(digits, [good, good, text, "packged:efficientnet-lite0"], settings=SETTINGS)
    said = capsys.readouterr().err
    assert "good is named twice" in said
    reasons = {one.name: one.reason for one in board.rows}
    assert "reads texts and the target holds images" in reasons["reader"]
    assert "Did you mean packaged:efficientnet-lite0" in reasons["packged:efficientnet-lite0"]
    with pytest.raises(rg.UsageError, match=r"no output 'lable'; did you mean 'label'"):
        rg.rank(digits, [good], output="lable")
    with pytest.raises(rg.UsageError, match="no source to rank"):
        rg.rank(digits, [])
    with pytest.raises(rg.SourceError, match=r"none of the sources can be used. small:image"):
        rg.rank(digits, ["small:image"])
