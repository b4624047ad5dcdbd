"""The documentation says what the program does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from danlu.cli.main import run
from danlu.config import describe, load_recipe, shipped_recipes
from danlu.records import Source, read_records

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh.md")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.fixture(scope="module")
def make_docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "tools" / "make_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_current(
    make_docs: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    for path, text in make_docs.pages().items():
        assert path.read_text(encoding="utf-8") == text, "run `make docs`"


def test_every_setting_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
    for setting in describe():
        assert f"| `{setting.path}` |" in page
        assert setting.meaning.replace("|", "\\|") in page


def test_every_section_has_an_example_that_loads(make_docs: ModuleType, tmp_path: Path) -> None:
    sections = {row.path.rpartition(".")[0] for row in describe()} - {"data.train[]"}
    assert set(make_docs.EXAMPLES) == sections
    path = tmp_path / "example.yaml"
    for section, example in make_docs.EXAMPLES.items():
        name = "" if section == "" else "name: x\n"
        path.write_text(name + example, encoding="utf-8")
        assert load_recipe(path).model_fields_set >= {section.split(".")[0]} - {""}


def test_every_command_has_an_example(make_docs: ModuleType) -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for words in make_docs.commands():
        _, _, section = page.partition(f"\n## {' '.join(['danlu', *words])}\n")
        section = section.partition("\n## ")[0]
        assert section, words
        if words not in (["recipe"], ["data"], ["keys"]):  # groups; their commands have theirs
            assert " ".join(["danlu", *words]) in section.partition("Example")[2], words


@pytest.mark.parametrize("page", READMES)
def test_commands_in_the_readme_exist(
    page: str, make_docs: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    known = [" ".join(words) for words in make_docs.commands()]
    shown = re.findall(r"^(?:\$ )?danlu (.+)$", text, re.MULTILINE)
    assert len(shown) >= 7
    for line in shown:
        words = [word for word in line.split() if not word.startswith(("-", "#"))]
        command = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0]
        assert command in known, line
        assert run([*command.split(), "--help"]) == 0
        options = capsys.readouterr().out
        for option in re.findall(r"(?<!\S)--[a-z-]+", line):
            assert option in options, line
    targets = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\bmake ([a-z-]+)", text):
        assert re.search(rf"^{target}:", targets, re.MULTILINE), target


def test_settings_in_the_readme_are_valid() -> None:
    for page in READMES:
        for line in re.findall(r"^danlu train (.+)$", (ROOT / page).read_text("utf-8"), re.M):
            words = [word for word in line.split() if not word.startswith("-")]
            recipe = words[0] if words[0] != "my.yaml" else "sft-lora"
            assert load_recipe(recipe, words[1:])


def test_both_readmes_show_the_same() -> None:
    english, chinese = ((ROOT / page).read_text(encoding="utf-8") for page in READMES)

    def shape(text: str) -> list[str]:
        return re.findall(r"^(#+ |```\w*|- \*\*|\d\. |danlu .*|make \w+)", text, re.MULTILINE)

    assert shape(english) == shape(chinese)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_every_sample_of_the_stages_is_read(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "stages.md").read_text("utf-8")
    blocks = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 5
    for number, block in enumerate(blocks):
        for line_number, line in enumerate(block.splitlines()):
            file = tmp_path / f"{number}-{line_number}.jsonl"
            file.write_text(line, "utf-8")
            [record] = read_records([Source(str(file))])
            assert record.messages


def test_every_recipe_is_told_of_in_the_stages() -> None:
    text = (ROOT / "docs" / "stages.md").read_text("utf-8")
    for name in shipped_recipes():
        assert f"`{name}`" in text or name == "quickstart"
