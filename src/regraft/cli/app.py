"""The application: all commands, and how errors become exit statuses.

Exit status: 0 done, 1 the work failed and says why, 2 the call is wrong, 3 the evidence says no (with
``--fail-if-harmed``), 130 interrupted and resumable.
"""

from __future__ import annotations

import sys

import typer

from regraft.cli import data, links, models, results, runs

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
    links.link,
    models.plan,
    runs.fit,
    runs.resume,
    results.prove,
    results.evaluate,
    results.predict,
    results.report,
    results.export,
    data.cache,
):
    app.command()(_command)


def main() -> None:
    """Run the command line; the ``regraft`` script's entry point."""
    from regraft.core.errors import RegraftError, UsageError

    try:
        app(standalone_mode=True, prog_name="regraft")
    except UsageError as error:
        _fail(error, 2)
    except RegraftError as error:
        _fail(error, 1)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)


def _fail(error: Exception, status: int) -> None:
    print(f"regraft: {error}", file=sys.stderr)
    sys.exit(status)
