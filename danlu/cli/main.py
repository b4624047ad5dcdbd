"""The commands in one list, and the one place where errors become words and exit codes."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from functools import cache
from typing import Any

import typer
import typer.main

from danlu.cli import (
    bench_serve,
    chat,
    classify,
    compare,
    data,
    diagnose,
    eval,
    explain,
    export,
    fluctuate,
    flywheel,
    formats,
    gate,
    judge,
    launch,
    merge,
    models,
    plan_suite,
    probe,
    quickstart,
    recipe,
    report,
    serve,
    squeeze,
    studio,
    sweep,
    train,
    verify,
    version,
    vote,
)
from danlu.cli.output import note, use_utf8
from danlu.errors import DanluError, TrainingError

OK, RUN_FAILED, USERS_MISTAKE, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="danlu",
    help="Danlu (丹炉): fine-tune a language model, watch it learn, and talk to it.",
    epilog="""\b
Examples:
  danlu quickstart
  danlu train sft-lora name=my-run data.train=my.jsonl
  danlu chat runs/my-run
""",
    add_completion=False,
    # Plain help: it starts sooner than rich's, and reads the same in a pipe and in the docs.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for _module in (
    quickstart,
    train,
    launch,
    explain,
    sweep,
    squeeze,
    data,
    flywheel,
    chat,
    classify,
    diagnose,
    probe,
    eval,
    compare,
    fluctuate,
    gate,
    plan_suite,
    judge,
    vote,
    export,
    merge,
    report,
    serve,
    bench_serve,
    studio,
    verify,
    models,
    formats,
    recipe,
    version,
):
    _module.register(app)


def main() -> None:
    """Run ``danlu`` with the arguments of this process, and exit."""
    use_utf8()
    sys.exit(run(sys.argv[1:]))


@cache
def command_tree() -> Any:
    """Return the tree of all commands, which takes a tenth of a second to build."""
    return typer.main.get_command(app)


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    A user's mistake is printed without a traceback; ``DANLU_DEBUG=1`` shows it all the same.
    Anything else that goes wrong is a fault in Danlu and keeps its traceback.

    Returns:
        0 if it succeeded, 1 if a run failed, 2 for a user's mistake, 130 if interrupted.
    """
    try:
        words = list(arguments) or ["--help"]
        code = command_tree()(words, prog_name="danlu", standalone_mode=False)
        return code if isinstance(code, int) else OK
    except typer.TyperException as error:
        return _fail(_usage_text(error), error.exit_code)
    except TrainingError as error:
        return _fail(f"Error: {error}", RUN_FAILED)
    except DanluError as error:
        return _fail(f"Error: {error}", USERS_MISTAKE)
    except ValueError as error:
        from pydantic import ValidationError

        if not isinstance(error, ValidationError):
            raise
        return _fail(f"Error: {error}", USERS_MISTAKE)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("Interrupted.", INTERRUPTED)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EROFS):
            raise
        return _fail(f"Error: {error.strerror}: {error.filename or 'the disk'}", USERS_MISTAKE)


def _fail(text: str, code: int) -> int:
    if os.environ.get("DANLU_DEBUG"):
        traceback.print_exc()
    note(text)
    return code


def _usage_text(error: typer.TyperException) -> str:
    """Say what is wrong with the command line, the nearest name, and where help is."""
    text = error.format_message().rstrip(".")
    if near := getattr(error, "possibilities", None):
        text = f"{error.message.rstrip('.')}. Did you mean {near[0]!r}"
    option = getattr(error, "option_name", None)
    if option and "." in option:
        text += f". Settings are given without dashes: {option.lstrip('-')}=VALUE"
    end = "?" if "Did you mean" in text else "."
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "danlu"
    return f"Error: {text.rstrip('?')}{end}\nTry '{command} --help'."
