"""Write the parts of the documentation that the program knows best: settings, commands, checks.

``python tools/make_docs.py`` writes ``docs/recipe.md``, ``docs/commands.md`` and
``docs/checks.md``, into ``docs/workshop.md`` and ``docs/abilities.md`` what their commands print,
and into ``docs/flywheel.md`` its settings; with ``--check`` it writes nothing and fails where one
of them is not current.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from danlu.cli.main import command_tree, run
from danlu.config import Recipe, Setting, describe
from danlu.config.describe import describe_section
from danlu.config.recipe import DataSource
from danlu.config.strict_yaml import write_yaml
from danlu.flywheel.config import FlywheelConfig, LogSection
from danlu.workshop.checks import CHECKS, check_settings
from danlu.workshop.checks.check import MIN_RECORDS
from danlu.workshop.veto import vetoing_tag

DOCS = Path(__file__).parents[1] / "docs"
NOTICE = "<!-- Made by tools/make_docs.py (`make docs`); edit the program instead. -->"

EXAMPLES = {
    "": "name: my-run",
    "model": "model:\n  path: builtin:smollm2-135m-instruct",
    "model.rope": "model:\n  rope: {type: yarn, factor: 2}\nsequences:\n  max_length: 16384",
    "data": "data:\n  train:\n  - my.jsonl\n  - path: faq.csv\n    task_type: support/faq\n"
    "    columns: {prompt: question, completion: answer}\n  eval_share: 0.05",
    "data.mix": "data:\n  mix:\n    by: area\n    targets: {general: 0.25}\n    repeats: 3",
    "sequences": "sequences:\n  max_length: 1024\n  overlong: truncate_prompt_left",
    "tuning": "tuning:\n  method: lora\n  lora_rank: 32\n  lora_options: {use_rslora: true}",
    "objective": "objective:\n  name: nll",
    "rollouts": "objective:\n  name: grpo\nrollouts:\n  reward: my_rules.py:score\n  group_size: 8",
    "devices": "devices:\n  strategy: fsdp2",
    "training": "training:\n  epochs: 2\n  batch_records: 32\n  learning_rate: 1e-4",
    "evaluation": "evaluation:\n  every_steps: 50\n  patience: 3",
    "checkpoints": "checkpoints:\n  every_steps: 100",
    "logging": "logging:\n  trackers: [tensorboard]",
    "samples": 'samples:\n  prompts: ["Who are you?"]',
}
"""One example per section; a test loads each."""


def recipe_page() -> str:
    """Return ``docs/recipe.md``."""
    parts = [
        "# The recipe",
        NOTICE,
        "A recipe is a YAML file, or the name of a shipped one. An unknown key, a bad value or two "
        "settings that exclude each other is an error that says where. On the command line a "
        "setting is `section.name=value`, and one of a list `data.train[0].limit=10`; a value that "
        "begins with `[`, `{` or a quote is YAML, anything else is taken as it stands. A relative "
        "path means the current directory or, where nothing is there, the recipe's own. `null` is "
        "no value.",
    ]
    sections: dict[str, list[Setting]] = {}
    for row in describe():
        sections.setdefault(row.path.rpartition(".")[0], []).append(row)
    for section, settings in sections.items():
        parts += [f"## {_title(section)}", _meaning(section), _table(settings)]
        if section in EXAMPLES:
            parts.append(f"```yaml\n{EXAMPLES[section]}\n```")
    return "\n\n".join(parts) + "\n"


def _title(section: str) -> str:
    return {"": "The run", "data.train[]": "A data source"}.get(section, f"`{section}`")


def _meaning(section: str) -> str:
    if section == "":
        return "Settings at the top of the recipe."
    kind: Any = Recipe
    for name in section.split("."):
        kind = DataSource if name == "train[]" else kind.model_fields[name].annotation
    return str(kind.__doc__).splitlines()[0]


def _table(settings: list[Setting]) -> str:
    lines = [
        "| setting | takes | default | meaning | source of the default |",
        "|---|---|---|---|---|",
    ]
    for row in settings:
        default = write_yaml(row.default).removesuffix("...\n").strip()
        cells = (
            f"`{row.path}`",
            row.type,
            "required" if row.required else f"`{default}`",
            row.meaning,
            row.source,
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def commands_page() -> str:
    """Return ``docs/commands.md``."""
    parts = [
        "# The commands",
        NOTICE,
        "Results go to stdout, notes and progress to stderr. The exit code is 0 for success, 1 if "
        "a run failed, 2 for a mistake in what was asked, 130 if it was interrupted. A mistake is "
        "told in words; `DANLU_DEBUG=1` shows the traceback too. `DANLU_HOME` is where converted "
        "models are kept (default `~/.cache/danlu`), `DANLU_DATASETS` where datasets are (default "
        "`./datasets`).",
    ]
    for words in commands():
        parts += [f"## {' '.join(['danlu', *words])}", f"```text\n{_help(words).rstrip()}\n```"]
    return "\n\n".join(parts) + "\n"


def commands() -> list[list[str]]:
    """Return the words of every command, groups before what is in them."""

    def below(command: Any, words: list[str]) -> Iterator[list[str]]:
        yield words
        for name, inner in getattr(command, "commands", {}).items():
            yield from below(inner, [*words, name])

    return list(below(command_tree(), []))


def _help(words: list[str]) -> str:
    os.environ["COLUMNS"] = "100"  # the same text in any terminal
    with redirect_stdout(StringIO()) as text:
        run([*words, "--help"])
    return text.getvalue()


ABOUT_CHECKS = f"""\
`danlu data check DATA` goes once through the records and gives findings per record
(`--findings FILE`) and a verdict per task type and check. A rule whose verdict is *fault* names
what is to be mended; *attention*, what is to be looked at: good data have some of it, and the
verdict tolerates a share. A check that has no meaning for a task type says *exempt*, one with fewer
than {MIN_RECORDS} records *too few*, one that was not given what it needs *not run*. `--drop RULE`
makes a version without the records that have a finding, `--tag RULE` one where they are tagged; a
check's name stands for all of its rules. Records with the tag `robustness` are protected from the
rules marked so: the finding stays, and the record too."""

ABOUT_SETTINGS = """\
On the command line, as `danlu data check mine monotony.answer_share=0.1`. A unit is a word, or a
character of a script without spaces."""


def checks_page() -> str:
    """Return ``docs/checks.md``."""
    rules = "| rule | of a | verdict | what it finds | limit and source | remedy |"
    settings = "| setting | default | meaning | source |"
    parts = [
        "# The checks of data",
        NOTICE,
        ABOUT_CHECKS.replace("\n", " "),
        "\n".join([rules, "|---|---|---|---|---|---|", *map(_row, _rules())]),
        "## Settings",
        ABOUT_SETTINGS.replace("\n", " "),
        "\n".join([settings, "|---|---|---|---|", *map(_row, _check_settings())]),
    ]
    return "\n\n".join(parts) + "\n"


def _rules() -> Iterator[tuple[str, ...]]:
    for check in CHECKS:
        defaults = {one.name: one.default for one in check_settings(check)}
        for rule in check.rules:
            limit = []
            if rule.limit in defaults:
                limit.append(f"`{check.name}.{rule.limit}` = {defaults[rule.limit]!r}")
            elif rule.limit:
                limit.append(f"`{rule.limit}`")
            if rule.of == "record" and rule.level == "attention":
                limit.append(f"{100 * rule.tolerated:g} % tolerated")
            if rule.source:
                limit.append(rule.source)
            spares = vetoing_tag(["robustness"], f"{check.name}.{rule.name}") is not None
            finds = rule.finds + (" (spares `robustness`)" if spares else "")
            of = rule.of.replace("_", " ")
            cells = (f"`{check.name}.{rule.name}`", of, rule.level, finds, "; ".join(limit))
            yield (*cells, rule.remedy)


def _check_settings() -> Iterator[tuple[str, ...]]:
    for check in CHECKS:
        for one in check_settings(check):
            name = f"`{check.name}.{one.name}`"
            yield name, f"`{one.default!r}`", one.meaning, one.source


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def settings_page(page: Path) -> str:
    """Return the flywheel's page with the table of its settings."""
    rows = describe_section(FlywheelConfig)
    place = next(number for number, row in enumerate(rows) if row.path == "sources")
    rows[place + 1 : place + 1] = describe_section(LogSection, "sources[].")
    text = page.read_text("utf-8")
    return re.sub(
        r"(?<=^## Every setting\n\n).*?(?=^## )",
        lambda _: f"{NOTICE}\n\n{_table(rows)}\n\n",
        text,
        flags=re.M | re.S,
    )


def console_page(page: Path, folder: Path) -> str:
    """Return a page with what the commands of its ``console`` blocks print, stdout before stderr.

    They run one after another in a copy of a folder.
    """
    parts = re.split(r"(^```console\n.*?^```\n)", page.read_text("utf-8"), flags=re.M | re.S)
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(folder, scratch, dirs_exist_ok=True)
        os.chdir(scratch)
        try:
            return "".join(
                _printed(part) if number % 2 else part for number, part in enumerate(parts)
            )
        finally:
            os.chdir(before)


def _printed(block: str) -> str:
    told = []
    for command in re.findall(r"^\$ (danlu .*)$", block, flags=re.M):
        with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
            run(shlex.split(command)[1:])
        lines = (out.getvalue() + err.getvalue()).splitlines()
        told += [f"$ {command}", *(line.rstrip() for line in lines)]
    return "\n".join(["```console", *told, "```\n"])


def pages() -> dict[Path, str]:
    """Return every page by its path."""
    for name in ("DANLU_DATASETS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        os.environ.pop(name, None)
    return {
        DOCS / "recipe.md": recipe_page(),
        DOCS / "commands.md": commands_page(),
        DOCS / "checks.md": checks_page(),
        DOCS / "flywheel.md": settings_page(DOCS / "flywheel.md"),
        DOCS / "workshop.md": console_page(DOCS / "workshop.md", DOCS / "workshop"),
        DOCS / "abilities.md": console_page(DOCS / "abilities.md", DOCS / "abilities"),
    }


def main() -> int:
    """Write the pages, or check them."""
    made = pages()
    stale = [
        path
        for path, text in made.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"docs/{path.name} is not current: run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(made[path], encoding="utf-8")
        print(f"wrote docs/{path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
