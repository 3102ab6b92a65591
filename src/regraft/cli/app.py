"""The application: all commands, and how errors become exit statuses.

Exit status: 0 done, 1 the work failed and says why, 2 the call is wrong, 3 the evidence says no (with
``--fail-if-harmed``), 130 interrupted and resumable.
"""

from __future__ import annotations

import os
import sys

import typer

from regraft.cli import data, features, links, models, ranking, results, runs

app = typer.Typer(
    name="regraft",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Grow a new model on a pretrained root, and prove that it helped.\n\n"
        "Start with `regraft demo`, or with your own folder of class folders: "
        "`regraft fit photos/ --out runs/photos`, then `regraft prove runs/photos`."
    ),
)

for _command in (
    runs.demo,
    models.sources,
    ranking.rank,
    links.link,
    models.plan,
    models.cite,
    runs.fit,
    runs.resume,
    runs.replay,
    results.prove,
    results.evaluate,
    results.predict,
    features.features,
    results.report,
    results.export,
    data.cache,
):
    app.command()(_command)


def main() -> None:
    """Run the command line; the ``regraft`` script's entry point."""
    from regraft.core.errors import RegraftError, UsageError

    _hush_followers()
    try:
        _check_launched(sys.argv[1:])
        app(standalone_mode=True, prog_name="regraft")
    except UsageError as error:
        _fail(error, 2)
    except RegraftError as error:
        _fail(error, 1)
    except KeyboardInterrupt as error:
        _tell("Interrupted.", error)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)


def _fail(error: Exception, status: int) -> None:
    _tell(f"regraft: {error}", error)
    sys.exit(status)


def _tell(sentence: str, error: BaseException) -> None:
    """Print what ended the command; of several processes, one says what all have."""
    before: str | None = ""
    if "RANK" in os.environ:
        from regraft.engine.processes import end_by_itself, spoken_by

        end_by_itself()
        before = spoken_by(error)
    if before is not None:
        print(before + sentence, file=sys.stderr)


def _check_launched(words: list[str]) -> None:
    """Several processes can fit and resume; they would do anything else several times over."""
    command = next((word for word in words if not word.startswith("-")), "")
    if "RANK" in os.environ and command not in ("", "fit", "resume"):
        from regraft.engine.processes import refuse_many

        refuse_many(command)


def _hush_followers() -> None:
    """Of several processes that a launcher started, rank 0 alone speaks."""
    if os.environ.get("RANK", "0") != "0":
        from regraft.core.console import set_quiet

        set_quiet(True)
