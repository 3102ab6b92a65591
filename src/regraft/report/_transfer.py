"""The sections on the source and on the plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from regraft.report._folder import RunFolder
from regraft.report._words import count, counted, is_number, joined, shortened

_MOST_YAML = 40_000


@dataclass(frozen=True)
class PlanView:
    """The plan: stages in words and the YAML as it was executed."""

    stages: tuple[tuple[str, str], ...]
    yaml: str


def source_facts(folder: RunFolder) -> tuple[tuple[str, str], ...]:
    """Name, size, licence and what to cite, as far as they are known."""
    source = folder.run.get("source") or {}
    facts = [
        ("name", source.get("name")),
        ("network", (folder.run.get("network") or {}).get("name")),
        ("reads", source.get("modality")),
        ("parameters", count(source["parameters"]) if is_number(source.get("parameters")) else None),
        ("licence", source.get("licence")),
        ("cite", source.get("cite")),
    ]
    return tuple((name, str(value)) for name, value in facts if value)


def plan_view(folder: RunFolder) -> PlanView | None:
    """The plan in words, or None where there is none."""
    if not folder.plan.strip():
        return None
    text = folder.plan
    if len(text) > _MOST_YAML:
        text = f"{text[:_MOST_YAML]}\n# cut here; the whole plan is in plan.yaml"
    try:
        plan = yaml.safe_load(folder.plan)
    except yaml.YAMLError:
        plan = None
    stages = plan.get("stages") if isinstance(plan, dict) else None
    told = [(str(stage.get("name", "")), _stage(stage)) for stage in stages or [] if isinstance(stage, dict)]
    return PlanView(tuple(told), text)


def _stage(stage: dict[str, Any]) -> str:
    words = {"solve": _solve, "train": _train, "average": _average}
    describe = words.get(str(stage.get("kind")))
    return describe(stage) if describe else f"A stage of the kind {stage.get('kind')!r}."


def _solve(stage: dict[str, Any]) -> str:
    heads = _names(stage.get("outputs")) or "every output"
    options = [f"{key} {value}" for key, value in (stage.get("options") or {}).items()]
    text = f"Solve for {heads} with {stage.get('solver', 'a solver')}, on features of the frozen layers"
    text += f" ({joined(options)})" if options else ""
    refit = ", then once more on train and validation together" if stage.get("refit") else ""
    return shortened(f"{text}{refit}.", 600)


def _train(stage: dict[str, Any]) -> str:
    trainable = _names(stage.get("trainable"))
    what = "all layers" if trainable in ("", "*") else trainable
    terms = [_term(term) for term in stage.get("terms") or [] if isinstance(term, dict)]
    rates = [group.get("rate") for group in stage.get("groups") or [] if isinstance(group, dict)]
    told = sorted({rate for rate in rates if is_number(rate)})
    sentences = [f"Train {what} by gradient steps" + (f" on {joined(terms)}" if terms else "")]
    optimiser = stage.get("optimiser") or {}
    name = {"adamw": "AdamW", "sgd": "SGD"}.get(str(optimiser.get("name", "adamw")), optimiser.get("name"))
    if told:
        span = f"{told[0]:g}" if len(told) == 1 else f"{told[0]:g} to {told[-1]:g}"
        sentences.append(
            f"{name}, rate {span}, {(stage.get('schedule') or {}).get('name', 'cosine')} schedule"
        )
    if stage.get("frozen_prefix"):
        sentences.append(f"Everything up to {stage['frozen_prefix']} is frozen and computed once")
    if stop := _stop(stage.get("stop") or {}):
        sentences.append(f"Ends after {stop}")
    return shortened(". ".join(sentences) + ".", 600)


def _term(term: dict[str, Any]) -> str:
    outputs = _names(term.get("outputs"))
    return f"{term.get('computes')} ({outputs})" if outputs else str(term.get("computes"))


def _stop(stop: dict[str, Any]) -> str:
    limits = [
        counted(int(stop[key]), noun)
        for key, noun in (("epochs", "epoch"), ("steps", "step"), ("seconds", "second"))
        if is_number(stop.get(key))
    ]
    if is_number(stop.get("patience")):
        limits.append(f"{counted(int(stop['patience']), 'epoch')} without a better validation loss")
    return joined(limits, "or")


def _average(stage: dict[str, Any]) -> str:
    return f"Average the weights of {_names(stage.get('of'))} ({stage.get('rule', 'mean')})."


def _names(values: Any) -> str:
    return joined([str(value) for value in values]) if isinstance(values, list) else ""
