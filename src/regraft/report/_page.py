"""Writing ``report.html``: the views of all sections, put into the templates."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from regraft.core.files import write_text
from regraft.report._calibration import calibration_views
from regraft.report._classes import ClassesView, classes_view
from regraft.report._data import data_section
from regraft.report._figures import LARGEST_MATRIX, metric_text, output_views
from regraft.report._folder import RunFolder, read_folder
from regraft.report._learning import learning_view
from regraft.report._link import link_views
from regraft.report._media import Gallery
from regraft.report._overview import (
    asked,
    command_line,
    costs_of,
    fingerprints,
    is_done,
    overview_of,
    predict_lines,
)
from regraft.report._proof import proof_of
from regraft.report._race import race_view
from regraft.report._ranking import ranking_view
from regraft.report._shape import findings_of, near_view
from regraft.report._slices import slices_views
from regraft.report._training import curves
from regraft.report._transfer import plan_view, source_facts

TEMPLATES = Path(__file__).parent / "templates"
LARGEST_PAGE = 2_000_000
# Pictures give way first: a page that is too large is written again with fewer of them, at last with none.
_PICTURE_BUDGETS = (1_200_000, 300_000, 0)


def write_report(folder: str | Path) -> Path:
    """Write ``report.html`` into a run's folder, from the files there, and return its path.

    One file of less than two million bytes that opens offline, runs no script and fetches nothing. A section
    whose file is not there says so, with the line to type. Raises :class:`BundleError` where the folder holds
    no run.
    """
    run = read_folder(folder)
    page = ""
    for budget in _PICTURE_BUDGETS:
        page = render(run, Gallery(budget))
        if len(page.encode()) < LARGEST_PAGE:
            break
    place = run.path / "report.html"
    write_text(place, page)
    return place


def render(run: RunFolder, gallery: Gallery) -> str:
    """The whole page."""
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            overview=overview_of(run),
            version=run.run.get("regraft", ""),
            asked=asked(run),
            fingerprints=fingerprints(run),
            command=command_line(run),
            data=data_section(run, gallery),
            source=source_facts(run),
            ranking=ranking_view(run.ranking, reached=_reached(run)),
            links=link_views(run),
            plan=plan_view(run),
            curves=curves(run),
            outputs=output_views(run, gallery),
            classes=_classes(run),
            calibration=calibration_views(run),
            slices=slices_views(run),
            findings=findings_of(run),
            near=near_view(run),
            race=race_view(run),
            largest_matrix=LARGEST_MATRIX,
            proof=proof_of(run),
            learning=learning_view(run),
            costs=costs_of(run),
            notes=_own_notes(run),
            done=is_done(run),
            resume=run.command("resume"),
            prove=run.command("prove"),
            predict=predict_lines(run),
            pictures_left_out=gallery.left_out,
        )
    )


def _own_notes(run: RunFolder) -> list[str]:
    """What the run has to say beside what is said about its data."""
    told = run.target.get("notes") or []
    return [str(note) for note in run.run.get("notes") or [] if note not in told]


def _classes(run: RunFolder) -> dict[str, ClassesView | None]:
    """By output the figures of its classes."""
    outputs = run.metrics.get("outputs") or {}
    return {str(name): classes_view(output.get("per_class") or {}) for name, output in outputs.items()}


def _reached(run: RunFolder) -> str:
    """What the run came to, in the figure that its ranking predicted."""
    output = (run.metrics.get("outputs") or {}).get(run.ranking.get("output")) or {}
    metric = (output.get("metrics") or {}).get(run.ranking.get("metric"))
    strategy = run.run.get("strategy")
    return f"{metric_text(metric)}{f' with {strategy}' if strategy else ''}" if metric else ""


@cache
def environment() -> jinja2.Environment:
    """The page's templates: everything they print is escaped, and a name they lack is an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["breakable"] = breakable
    return made


def breakable(text: str) -> Markup:
    """A name that may be broken after its dots, slashes, dashes and underscores."""
    return Markup(re.sub(r"([./_-]+)", r"\1<wbr>", str(escape(text))))
