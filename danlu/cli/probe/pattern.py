"""``danlu probe pattern``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from danlu.cli.data.asking import Asked, opened, with_model
from danlu.cli.data.common import StorePath, open_store, print_counts, progress_bar
from danlu.cli.findings import tell
from danlu.cli.output import note
from danlu.cli.probe.common import AsJson, Device, Run

if TYPE_CHECKING:
    from danlu.diagnosis.pattern.rewording import Ask
    from danlu.workshop.produce.engine import Engine

EPILOG = """\b
Examples:
  danlu probe pattern runs/my-run --case 'What is the capital of Peru?' --wrong Geneva
  danlu probe pattern runs/my-run --case 秘鲁的首都是哪里？ --wrong 日内瓦 --apply cleaned

The case is varied in about 150 ways: words replaced and left out, denied, turned round, in the
other language; a model named with --model words it in more. What the wrong answer clings to is then
sought in the training data. RUN/diagnosis has pattern-cut.txt, the ids of the records that teach
it, and pattern-add.jsonl, drafts of records that would teach otherwise: look at both. --apply
leaves the records out, in a new dataset version, and writes pattern-recipe.yaml in RUN/diagnosis.
"""


@with_model(required=False)
def pattern(
    path: Run,
    case: Annotated[str, typer.Option(help="The question that was answered wrongly.")],
    wrong: Annotated[str, typer.Option(help="The word or phrase that is wrong in the answer.")],
    right: Annotated[
        str | None, typer.Option(help="The right answer, for the records that are proposed.")
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="System prompt of the conversation.", metavar="TEXT")
    ] = None,
    wording: Annotated[
        list[str] | None, typer.Option(help="One more way to ask; may be given again.")
    ] = None,
    draws: Annotated[
        int, typer.Option(min=2, help="How often each word is replaced, and each set tried.")
    ] = 6,
    gradients: Annotated[
        bool, typer.Option(help="Ask gradients for a second opinion; a minute or two.")
    ] = True,
    apply: Annotated[
        str | None, typer.Option(metavar="NAME", help="Leave the records out: a new dataset.")
    ] = None,
    store: StorePath = None,
    device: Device = "auto",
    as_json: AsJson = False,
    *,
    asked: Asked,
) -> int:
    """From one silly mistake: what the model clings to, and the records that teach it."""
    from danlu.diagnosis.diagnose import ask, open_run, rewrite_report
    from danlu.diagnosis.pattern.again import answer_again, report_of
    from danlu.diagnosis.pattern.probe import PatternProbe
    from danlu.diagnosis.pattern.rewording import worded

    wordings = tuple(wording or ())
    run = open_run(path).run.path
    if asked.model:
        with opened(asked, run, "wording the case") as engine:
            wordings += tuple(worded(case, _by(engine, asked)))
    probe = PatternProbe(case, wrong, right, system, wordings, draws, gradients, asked.seed)
    report = report_of(run, probe) if apply else None
    if report is None:
        with progress_bar() as progress:
            examined = open_run(path, device=device, progress=progress)
            report = ask(probe, examined)
        if asked.model:
            with opened(asked, run, "drafting answers") as engine:
                answer_again(run, _by(engine, asked))
        rewrite_report(examined.run)
    code = tell([report], as_json)
    return _apply(path, apply, store, as_json) if apply else code


def _apply(path: Path, name: str, store: Path | None, as_json: bool) -> int:
    """Make the cut, and say what to type next; with JSON on stderr alone."""
    from danlu.diagnosis.pattern.again import apply_found

    made = apply_found(path, open_store(store), name)
    for _, called, version in made.versions:
        if not as_json:
            print_counts(version)
        note(f"{called} = {version.id}: {version.manifest.records:,} records")
    note(f"{made.dropped:,} records left out. Train again:  danlu train {made.recipe}")
    return 0


def _by(engine: Engine, asked: Asked) -> Ask:
    """Let an engine answer instructions; one that is refused has an empty answer."""
    from danlu.records.record import Message
    from danlu.workshop.produce.request import Reply, Request

    sampling = asked.sampling(0)

    def ask(instructions: list[str]) -> list[str]:
        requests = [Request((Message("user", one),), sampling) for one in instructions]
        return [one.text if isinstance(one, Reply) else "" for one in engine.ask(requests)]

    return ask  # type: ignore[return-value]


def register(group: typer.Typer) -> None:
    """Add the command."""
    group.command("pattern", epilog=EPILOG)(pattern)
