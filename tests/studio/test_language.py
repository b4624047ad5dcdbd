"""Both catalogues have the same keys, and every key that is used exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import yaml

import danlu.studio
from danlu.config import describe
from danlu.runs.metric_words import METRICS
from danlu.studio.language import Words, _findings, catalogue

STUDIO = Path(danlu.studio.__file__).parent
DIAGNOSIS = STUDIO.parent / "diagnosis"
# t("a.b"), words("a.b") and words_of(request)("a.b"); of t("a." ~ name), t(f"a.{name}") and the
# script's t(`a.${name}`) what is before the name.
CALL = r"\b(?:t|words|words_of\(request\))\(\s*"
USED = re.compile(rf"""{CALL}(?P<f>f?)(?P<q>["'`])(?P<key>.*?)(?P=q)(?P<more>\s*~)?""")


def used() -> list[tuple[str, str, bool]]:
    """Every key in the sources: file, key, whether it is only the key's beginning."""
    found = []
    for path in sorted(STUDIO.rglob("*")):
        if path.suffix not in (".html", ".py", ".js") or path.name.endswith(".min.js"):
            continue
        for match in USED.finditer(path.read_text("utf-8")):
            key, begins = match["key"], bool(match["more"])
            if match["f"] or match["q"] == "`":
                key, brace, _ = key.replace("${", "{").partition("{")
                begins = bool(brace)
            found.append((path.name, f"js.{key}" if path.suffix == ".js" else key, begins))
    return found


def test_the_languages_have_the_same_keys_and_the_same_braces() -> None:
    en, zh = catalogue("en"), catalogue("zh")
    assert en.keys() == zh.keys()
    for key in en:
        first, second = ({part[1] for part in Formatter().parse(one[key])} for one in (en, zh))
        assert first - {None} == second - {None}, key


def test_every_key_that_is_used_exists() -> None:
    keys = catalogue("en")
    found = used()
    assert len(found) > 30
    for file, key, begins in found:
        there = any(one.startswith(key) for one in keys) if begins else key in keys
        assert there, f"{file} uses {key!r}"


def test_no_key_is_left_over() -> None:
    exact = {key for _, key, begins in used() if not begins}
    beginnings = tuple(key for _, key, begins in used() if begins)
    left = [key for key in catalogue("en") if key not in exact and not key.startswith(beginnings)]
    assert not left


def test_chinese_is_chinese() -> None:
    same = {key for key, text in catalogue("zh").items() if not re.search("[一-鿿]", text)}
    assert not same


def test_every_setting_of_a_recipe_is_explained_in_chinese() -> None:
    settings = yaml.safe_load((STUDIO / "languages" / "settings.zh.yaml").read_text("utf-8"))
    metrics = {f"metrics.{name.rpartition('.')[2]}" for name in METRICS}
    assert settings.keys() == {row.path for row in describe()} | metrics
    assert all(re.search("[一-鿿]", text) for text in settings.values())
    assert Words("zh").meaning("data.train[3].limit", "") == settings["data.train[].limit"]
    assert Words("en").meaning("name", "Name of the run.") == "Name of the run."


MADE = {"Finding": ("titles", "name"), "Remedy": ("remedies", "says")}


def constants(node: ast.expr) -> Iterator[str]:
    """The sentences that an expression may be, as far as they are fixed."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from constants(node.body)
        yield from constants(node.orelse)


def test_every_finding_and_every_fixed_remedy_is_said_in_chinese() -> None:
    """Read off the probes' own code, so that a new one is not forgotten, nor an old one left."""
    wanted: dict[str, set[str]] = {"titles": set(), "remedies": set()}
    strings: set[str] = set()
    for path in DIAGNOSIS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                strings.add(node.value)
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            group, field = MADE.get(node.func.id, ("", ""))
            for keyword in node.keywords:
                if group and keyword.arg == field:
                    wanted[group] |= set(constants(keyword.value))
    assert len(wanted["titles"]) > 30
    known = _findings("zh")
    for group, keys in wanted.items():
        assert not keys - set(known[group]), group
        assert not set(known[group]) - strings, group
    for title, meaning in known["titles"].values():
        assert re.search("[一-鿿]", title)
        assert re.search("[一-鿿]", meaning)
    assert all(re.search("[一-鿿]", text) for text in known["remedies"].values())
    assert Words("zh").remedy("3 of 4 are wrong.") == "3 of 4 are wrong."
    assert Words("zh").finding("of-tomorrow") == ("of-tomorrow", "")
