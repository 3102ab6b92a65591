"""The verdict: paired seeds, a ledger of who read test labels, and a budget that is kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import regraft as rg
from regraft.core.errors import BudgetError, BundleError, DataError, UsageError
from regraft.core.files import read_json, write_json


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sklearn.datasets import load_digits

    digits = load_digits(n_class=3)
    target = rg.Target.from_arrays(digits.images[:120], digits.target[:120].astype(str)).with_test(60)
    out = tmp_path_factory.mktemp("runs") / "digits"
    settings = rg.Settings("cpu", backend="eager")
    source = "packaged:efficientnet-lite0"
    rg.transfer(target, out=out, source=source, size=32, train_size=15, settings=settings)
    return out


def test_a_proof_compares_arms_over_paired_seeds(digits_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(digits_run, tmp_path / "run"))
    evidence = rg.prove(folder, seeds=3, budget=None, scratch="small", curve=(3, 10))
    assert evidence.verdict in {"HELPED", "HARMED", "EQUIVALENT", "INCONCLUSIVE"}
    written = read_json(folder / "evidence.json")
    assert written["verdict"] == evidence.verdict
    assert written["sentence"] == evidence.sentence
    assert written["seeds"] == [1, 2, 3], "fresh draws, not the run's own"
    assert [arm["kind"] for arm in written["arms"]] == ["strategy", "baseline", "scratch"]
    assert [arm["uses_source"] for arm in written["arms"]] == [True, False, False]
    assert all(len(arm["test"]) == len(arm["validation"]) == 3 for arm in written["arms"])
    assert written["arms"][2]["name"].startswith("scratch, small network (")
    assert written["labels"] == 15
    assert written["cut"] == []
    points = [(point["per_class"], point["labels"]) for point in written["curve"]["arms"][0]["points"]]
    assert points == [(3, 9), (None, 15), (10, 30)]
    assert evidence.curve is not None
    assert evidence.curve.sentence in (folder / "report.html").read_text().replace("&#39;", "'")
    facts = read_json(folder / "run.json")
    assert facts["test_label_reads"] == 2
    assert [entry["purpose"] for entry in facts["ledger"]] == ["final figures", "prove"]
    assert evidence.sentence in (folder / "report.html").read_text()


def test_seeds_by_which_the_run_was_chosen_are_not_those_that_prove_it(
    digits_run: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(digits_run, tmp_path / "run"))
    chosen = {"seeds": [1, 3], "candidates": 6, "seconds": 12.5, "how": "regraft rank"}
    write_json(folder / "run.json", {**read_json(folder / "run.json"), "selection": chosen})
    evidence = rg.prove(folder, seeds=3, budget=None, scratch="small")
    assert evidence.seeds == (2, 4, 5)
    assert read_json(folder / "evidence.json")["selection"] == chosen
    with pytest.raises(UsageError, match="at least two different numbers of labels per class"):
        rg.prove(folder, curve=(10,))


def test_a_budget_that_is_too_small_is_refused_with_one_that_is_not(
    digits_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_json(digits_run / "run.json")
    message = r"do not fit in the budget of 0\.0 s: they need about .*\. Give --budget \d+s or more"
    with pytest.raises(BudgetError, match=message):
        rg.prove(digits_run, seeds=3, budget=0.001, scratch="same")
    assert not (digits_run / "evidence.json").exists()
    assert read_json(digits_run / "run.json") == before, "no test label was read"


def test_what_cannot_be_proven_is_named(digits_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--scratch big: there are auto, same, small, both"):
        rg.prove(digits_run, scratch="big")
    with pytest.raises(UsageError, match="there is no output 'price'; there are: label"):
        rg.prove(digits_run, output="price")
    folder = Path(shutil.copytree(digits_run, tmp_path / "run"))
    write_json(folder / "run.json", {**read_json(folder / "run.json"), "status": "interrupted"})
    with pytest.raises(BundleError, match="is interrupted; go on with it first: regraft resume"):
        rg.prove(folder)
    with pytest.raises(BundleError, match=r"is not the folder of a run: it holds no run\.json"):
        rg.prove(tmp_path)


def test_data_in_the_folder_of_a_moved_run_are_found_there(digits_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(digits_run, tmp_path / "now"))
    facts, before = read_json(folder / "run.json"), tmp_path / "before"
    inside = Path(facts["origin"]["path"]).relative_to(digits_run.resolve())
    moved = {**facts, "folder": str(before), "origin": {**facts["origin"], "path": str(before / inside)}}
    write_json(folder / "run.json", moved)
    with pytest.raises(UsageError, match="there is no output 'price'"):  # and not that the data are gone
        rg.prove(folder, output="price")
    missing = rf"\(saved arrays\) are looked for at {folder / inside} .*: regraft prove {folder}$"
    shutil.move(folder / inside, tmp_path / "elsewhere")
    with pytest.raises(DataError, match=missing):
        rg.prove(folder)


def test_a_proof_on_changed_data_is_refused(image_run: Path, photos: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(image_run, tmp_path / "run"))
    mine = Path(shutil.copytree(photos, tmp_path / "photos"))
    next((mine / "one").iterdir()).unlink()
    facts = read_json(folder / "run.json")
    write_json(folder / "run.json", {**facts, "origin": {**facts["origin"], "path": str(mine)}})
    with pytest.raises(BundleError, match=r"changed since the run began\. Put them back .*regraft fit"):
        rg.prove(folder)
