"""Both catalogues have the same keys, and every key that is used exists."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import danlu.studio
from danlu.studio.language import catalogue

STUDIO = Path(danlu.studio.__file__).parent
# t("a.b") and words("a.b"); in t("a." ~ name) and t(f"a.{name}") what is before the name.
USED = re.compile(
    r"""\b(?:t|words)\(\s*(f?)"([^"]*)"(\s*~)?|\b(?:t|words)\(\s*(f?)'([^']*)'(\s*~)?"""
)


def used() -> list[tuple[str, str, bool]]:
    """Every key in the sources: file, key, whether it is only the key's beginning."""
    found = []
    for path in sorted(STUDIO.rglob("*")):
        if path.suffix not in (".html", ".py", ".js") or path.name.endswith(".min.js"):
            continue
        for match in USED.finditer(path.read_text("utf-8")):
            key = match[2] or match[5] or ""
            begins = bool(match[3] or match[6])
            if match[1] or match[4]:
                key, begins = key.partition("{")[0], "{" in key
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
