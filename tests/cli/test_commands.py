"""Every command does what it says, prints one JSON object if asked, and logs on standard error only."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
import yaml

from regraft.cli.app import app
from regraft.cli.given import seconds_of, streams_of
from regraft.core.errors import UsageError
from regraft.evidence import Evidence
from regraft.scores import SCORES
from regraft.scores.distances import DISTANCES
from regraft.strategies import STRATEGIES
from tests.cli.conftest import Run

COMMANDS = [
    "demo",
    "sources",
    "rank",
    "link",
    "plan",
    "cite",
    "fit",
    "resume",
    "replay",
]  # in the order of --help
COMMANDS += ["prove", "evaluate", "predict", "features", "report", "export", "cache"]


def test_help_lists_every_command(regraft: Run) -> None:
    said = regraft("--help")
    assert said.status == 0
    assert [command.callback.__name__ for command in app.registered_commands] == COMMANDS
    assert all(f"\n  {name} " in said.out for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_json(regraft: Run, command: str) -> None:
    for flag in ("--help", "-h"):
        said = regraft(command, flag)
        assert (said.status, said.err) == (0, "")
        assert said.out.startswith(f"Usage: regraft {command}")
        assert "--json" in said.out


def fit(regraft: Run, data: Path, out: Path, *more: str | Path) -> dict:  # type: ignore[type-arg]
    said = regraft("fit", data, "--out", out, "--size", "32", "--backend", "eager", "--json", *more)
    assert said.status == 0, said.err
    return json.loads(said.out)


def test_fit_prints_one_object_and_logs_elsewhere(regraft: Run, photos: Path, tmp_path: Path) -> None:
    said = regraft("fit", photos, "--out", tmp_path / "run", "--size", 32, "--train-size", 20, "--json")
    assert said.status == 0, said.err
    shown = json.loads(said.out)
    assert shown["folder"] == str(tmp_path / "run")
    assert shown["run"]["status"] == "done"
    assert shown["metrics"]["outputs"]["label"]["count"] == 12
    assert "Source: packaged:efficientnet-lite0, the default for image data" in said.err
    assert "label: multiclass, found from the labels: 3 classes (one, two, zero)." in said.err
    assert shown["run"]["command"][:2] == ["regraft", "fit"]


def test_fit_says_the_figure_and_what_to_type_next(regraft: Run, photos: Path, tmp_path: Path) -> None:
    said = regraft("fit", photos, "--out", tmp_path / "run", "--size", 32, "--seed", 1, "--backend", "eager")
    outcome, report, hint = said.out.splitlines()
    assert outcome.startswith("Test part, 12 examples: label: accuracy ")
    assert Path(report.removeprefix("report: ")).is_file()
    assert hint == f"did it help?  regraft prove {tmp_path / 'run'}"


def test_what_plan_prints_is_what_fit_carries_out(regraft: Run, photos: Path, tmp_path: Path) -> None:
    choice = (
        "--size",
        "32",
        "--strategy",
        "lpft:1",
        "--set",
        "stop.epochs=1",
        "--seed",
        "3",
        "--train-size",
        24,
    )
    said = regraft("plan", photos, *choice)
    assert said.status == 0
    assert "On this machine: the frozen layers once over" in said.err
    assert "Memory beside the 13." in said.err
    assert yaml.safe_load(said.out)["draw"] == {"train_size": 24}
    (tmp_path / "plan.yaml").write_text(said.out)
    settings = ("--backend", "eager", "--json")
    by_file = regraft("fit", photos, "--plan", tmp_path / "plan.yaml", "--out", tmp_path / "a", *settings)
    by_name = regraft("fit", photos, *choice, "--out", tmp_path / "b", *settings)
    assert by_file.status == by_name.status == 0, by_file.err + by_name.err
    one, two = (json.loads(said.out)["run"] for said in (by_file, by_name))
    assert one["hashes"] == two["hashes"]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]
    as_json = regraft("plan", photos, *choice, "--json")
    as_data = json.loads(as_json.out)
    assert as_data["trained"][0]["trained"] == ["conv_head", "head"]
    assert "Stage 'tune' trains conv_head, head: " in as_json.err
    assert "blocks.{0..15}, computed once up to blocks.15." in as_json.err
    assert (as_data["strategy"], as_data["seed"]) == ("lpft", 3)
    assert list(as_data["price"]["memory"]) == list(as_data["price"]["stages"]) == ["tune"]
    assert as_data["price"]["memory"]["tune"] > 1e6
    (few,) = [one for one in as_data["findings"] if one["kind"] == "few labels"]
    assert few["sentence"] in by_name.err
    assert few in one["findings"]
    assert few in two["findings"]


def test_strategies_are_listed(regraft: Run) -> None:
    rows = json.loads(regraft("plan", "--list", "--json").out)["strategies"]
    assert [row["name"] for row in rows] == list(STRATEGIES)
    assert rows[0]["kinds"] == ["binary", "multiclass", "multilabel", "regression"]
    listed = " ".join(regraft("plan", "--list").out.split())
    assert "probe[:..] few labels" in listed
    assert "[:..] what solves it: ridge (the default), logistic" in listed
    assert all(kind.when in listed for kind in STRATEGIES.values())


def test_what_to_cite(regraft: Run, image_run: Path) -> None:
    assert regraft("cite", "lpft:5").out.startswith("strategy lpft: Kumar et al.: Fine-tuning can distort")
    assert regraft("cite", "scratch").out == "scratch names no paper\n"
    every = json.loads(regraft("cite", "--json").out)["references"]
    named = {
        kind: {one["name"] for one in every if one["kind"] == kind}
        for kind in ("strategy", "score", "distance")
    }
    assert named == {
        "strategy": set(STRATEGIES) - {"scratch"},
        "score": set(SCORES),
        "distance": set(DISTANCES),
    }
    assert regraft("cite", "logme").out.startswith("score logme: You et al.: LogME: practical assessment")
    of_run = json.loads(regraft("cite", image_run, "--json").out)["references"]
    assert [(one["kind"], one["name"]) for one in of_run] == [
        ("strategy", "probe"),
        ("source", "packaged:efficientnet-lite0"),
    ]
    wrong = regraft("cite", "nothing")
    assert wrong.status == 2
    assert "there is no strategy 'nothing'" in wrong.err
    assert "did you mean 'logme'?" in regraft("cite", "logm").err


def test_sources_are_listed(regraft: Run) -> None:
    said = regraft("sources")
    assert said.out.startswith("Ready to use\n")
    assert "packaged:efficientnet-lite0  image, 19 MB, 3.4 M parameters, Apache-2.0" in said.out
    rows = json.loads(regraft("sources", "--modality", "text", "--json").out)["sources"]
    assert "packaged:minilm" in {row["name"] for row in rows}
    assert "packaged:efficientnet-lite0" not in {row["name"] for row in rows}


def test_link_shows_what_carries_over(regraft: Run, photos: Path) -> None:
    said = regraft("link", "packaged:efficientnet-lite0", photos, "--size", "32")
    assert said.status == 0
    assert "294 copied, 0 adapted, 2 fresh" in said.out
    shown = json.loads(regraft("link", "packaged:efficientnet-lite0", photos, "--size", "32", "--json").out)
    assert shown["coverage"]["parameters"] == 1.0


def test_predict_prints_lines_json_or_a_table(regraft: Run, image_run: Path, photos: Path) -> None:
    item = sorted((photos / "two").iterdir())[0]
    lines = regraft("predict", image_run, item, "nowhere.png").out.splitlines()
    assert lines[0].startswith(f"{item}: ")
    assert lines[1] == "nowhere.png: could not be read: there is no such file"
    shown = json.loads(regraft("predict", image_run, item, "nowhere.png", "--json").out)
    assert list(shown) == ["predictions"]
    assert [entry["item"] for entry in shown["predictions"]] == [str(item), "nowhere.png"]
    rows = list(csv.DictReader(io.StringIO(regraft("predict", image_run, item, "nowhere.png", "--csv").out)))
    assert rows[0]["label.label"] == shown["predictions"][0]["label"]
    assert (rows[1]["label.label"], rows[1]["error"]) == ("", "there is no such file")


def test_predict_reads_a_column_of_a_table(regraft: Run, text_run: Path, summaries_csv: Path) -> None:
    said = regraft("predict", text_run, summaries_csv, "--column", "body", "--json")
    assert len(json.loads(said.out)["predictions"]) == 40
    said = regraft("predict", text_run, summaries_csv, "--column", "boddy")
    assert said.status == 1
    assert "there is no text column 'boddy' in" in said.err
    assert "the columns are body" in said.err


def test_evaluate_prints_intervals(regraft: Run, image_run: Path, photos: Path) -> None:
    said = regraft("evaluate", image_run, photos)
    assert said.out.startswith("label (multiclass), 60 labelled examples\n  accuracy ")
    shown = json.loads(regraft("evaluate", image_run, photos, "--json").out)
    assert shown["outputs"]["label"]["metrics"]["accuracy"]["value"] <= 1


def test_report_and_export_write_files(regraft: Run, image_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(image_run, tmp_path / "run"))
    (folder / "report.html").unlink()
    shown = json.loads(regraft("report", folder, "--json").out)
    assert Path(shown["report"]).is_file()
    assert regraft("report", folder).out.strip() == str(folder / "report.html")
    made = regraft("export", folder, "--to", "safetensors", "--out", tmp_path / "plain.safetensors")
    assert made.out.strip() == str(tmp_path / "plain.safetensors")
    assert (tmp_path / "plain.safetensors").is_file()


def test_the_cache_is_shown_and_cleared(
    regraft: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("REGRAFT_CACHE_LIMIT", "2GB")
    assert regraft("cache").out == f"{tmp_path / 'cache'}: 0.0 MB of 2.0 GB\n  empty\n"
    (tmp_path / "cache" / "images").mkdir(parents=True)
    (tmp_path / "cache" / "images" / "x").write_bytes(b"12345")
    shown = json.loads(regraft("cache", "--json").out)
    (entry,) = shown["entries"]
    assert (entry["kind"], entry["name"], entry["files"], entry["size"]) == ("images", "x", 1, 5)
    assert shown["limit"] == 2_000_000_000
    listed = regraft("cache", "images").out
    assert "1 entries" in listed
    assert "used 20" in listed
    assert json.loads(regraft("cache", "--limit", "5", "--json").out)["freed"] == 0
    refused = regraft("cache", "sounds", "--clear")
    assert refused.status == 2
    assert refused.err.startswith("regraft: the cache keeps no 'sounds'")
    assert json.loads(regraft("cache", "--clear", "--json").out)["freed"] == 5
    assert not (tmp_path / "cache" / "images").exists()


@pytest.mark.parametrize(
    ("verdict", "flags", "status"),
    [("HARMED", (), 0), ("HARMED", ("--fail-if-harmed",), 3), ("EQUIVALENT", ("--fail-if-harmed",), 0)],
)
def test_a_verdict_of_harm_can_be_made_to_fail(
    regraft: Run,
    image_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    verdict: str,
    flags: tuple[str, ...],
    status: int,
) -> None:
    from regraft.api import prove as prove_module

    found = Evidence(
        verdict=verdict,
        sentence=f"{verdict}: so it is.",
        delta=0.005,
        output="label",
        metric={"name": "accuracy", "higher_is_better": True, "percent": True},
        seeds=(1, 2, 3),
        strategy_arm="probe",
        reference="svm",
        null="",
        budget_seconds=None,
        predicted_seconds=1.0,
        spent_seconds=1.0,
        cut=(),
        labels=10,
        arms=(),
        contrasts=(),
    )
    monkeypatch.setattr(prove_module, "prove", lambda folder, **rest: found)
    said = regraft("prove", image_run, "--json", *flags)
    assert said.status == status
    assert json.loads(said.out)["verdict"] == verdict


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200)])
def test_times_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


def test_streams_are_named_with_their_data() -> None:
    assert streams_of(["source=photos/a=b", "rest=more.csv"]) == {"source": "photos/a=b", "rest": "more.csv"}
    assert streams_of(None) == {}
    with pytest.raises(UsageError, match="--stream photos: write NAME=DATA, as in source=photos/"):
        streams_of(["photos"])


@pytest.mark.parametrize("text", ["", "m", "soon", "-5s", "0"])
def test_what_is_no_time_says_how_to_write_one(text: str) -> None:
    with pytest.raises(UsageError, match="is no time; write 90s, 5m or 2h"):
        seconds_of(text)
