"""What the code says in English by itself has its Chinese: data checks, errors."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import danlu
from danlu.records import Message, Record
from danlu.studio.check_words import CheckWords, _catalogue
from danlu.studio.phrases import Phrases
from danlu.workshop.checks import CHECKS, run_checks

PACKAGE = Path(danlu.__file__).parent
HAN = re.compile("[一-鿿]")
ENGLISH = re.compile(
    r"[a-z]{2,} [a-z]{2,}"
)  # two words: no name of a setting, a command or a token


def template(node: ast.expr) -> str | None:
    """What an expression says, with {0}, {1} … where values are put in; None: that is not fixed."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if not isinstance(node, ast.JoinedStr):
        return None
    said, count = "", 0
    for part in node.values:
        if isinstance(part, ast.Constant):
            said += part.value.replace("{", "{{").replace("}", "}}")
        else:
            said, count = f"{said}{{{count}}}", count + 1
    return said


def holds(said: str, translated: str) -> bool:
    """Whether a translation is Chinese and puts in no value that is not there."""
    own, other = ({part[1] for part in Formatter().parse(one)} for one in (said, translated))
    return bool(HAN.search(translated)) and other <= own


# Checks of data --------------------------------------------------------------------------


def test_every_check_and_every_rule_has_its_chinese() -> None:
    known = _catalogue("zh")
    assert known["checks"].keys() == {check.name for check in CHECKS}
    assert known["rules"].keys() == {
        f"{check.name}.{r.name}" for check in CHECKS for r in check.rules
    }
    for words in (*known["checks"].values(), *known["rules"].values()):
        assert all(isinstance(one, str) for one in words), words
        assert all(HAN.search(one) for one in words), words
    assert {len(words) for words in known["checks"].values()} == {2}
    assert {len(words) for words in known["rules"].values()} == {3}
    titles = list(map(tuple, known["rules"].values()))
    assert len({title for title, _, _ in titles}) == len(titles)


def measured() -> Iterator[str]:
    """The sentences with figures in them that the checks' own code says."""
    for path in sorted((PACKAGE / "workshop" / "checks").glob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        named = {
            target.id: template(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        speaks = any(
            isinstance(node, ast.ImportFrom) and any(one.name == "verdict_of" for one in node.names)
            for node in ast.walk(tree)
        )
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr) and speaks:
                said = template(node) or ""
                if said.endswith("."):
                    yield said
            if isinstance(node, ast.Call) and any(
                isinstance(one, ast.Constant) and one.value == "not_run" for one in node.args
            ):
                advice = node.args[-1]
                assert isinstance(advice, ast.Name)
                yield named[advice.id] or ""


def test_every_sentence_of_a_verdict_has_its_chinese() -> None:
    """Read off the code of the checks, so that a new one is not forgotten, nor an old one left."""
    known = _catalogue("zh")["sentences"]
    said = set(measured())
    assert len(said) > 15
    assert known.keys() == said
    assert all(holds(*pair) for pair in known.items())


def test_every_figure_of_a_verdict_has_its_chinese() -> None:
    """Those that are written out; which languages and sizes there are, is in two words more."""
    known = _catalogue("zh")["figures"]
    wanted = set()
    for path in sorted((PACKAGE / "workshop" / "checks").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Dict):
                target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                if isinstance(target, ast.Name) and target.id == "figures":
                    keys = [one.value for one in node.value.keys if isinstance(one, ast.Constant)]
                    wanted |= set(keys)
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
                if node.value.id == "figures" and isinstance(node.slice, ast.Constant):
                    wanted.add(node.slice.value)
    assert len(wanted) > 20
    assert not wanted - known.keys()


def test_the_advice_of_bad_data_is_chinese_to_its_last_word() -> None:
    """All that is measured of a task type whose records are alike, cut, and in several scripts."""
    long = "The furnace is hot, and the iron " * 30
    records = [
        Record(
            f"{at}",
            "qa/alike",
            (
                Message("system", "Answer in verse."),
                Message("user", f"Say it once more: {long} {at % 2}"),
                Message("assistant", f"Certainly! {long}它是 {{}}"),
                Message("user", f"And the weather in town {at}"),
                Message("assistant", "Certainly! \ufffd Fine. <|im_end|> a@b.com 我是"),
            ),
        )
        for at in range(60)
    ]
    records += [
        Record(f"l{at}", "qa/short", (Message("user", f"{at}?"), Message("assistant", "a b")))
        for at in range(60)
    ]
    verdicts = run_checks(records, CHECKS, on_finding=lambda finding: None)
    advised = [one for one in verdicts if one.advice]
    assert len(advised) > 10
    zh = CheckWords("zh")
    for one in advised:
        said = re.sub(r"'.*?'", "", zh.advice(one.check, one.advice))
        assert HAN.search(said), one
        assert not ENGLISH.search(said), (one, said)
    for one in verdicts:
        plain = re.sub(r" [\w.]+(, |$)", "", zh.figures(one.check, one.figures))
        assert not re.search(r"[a-z]{2,}_", plain), one


def test_what_is_not_known_stays_as_it_is() -> None:
    own = Phrases({"{0} of {1}.": "{1} 之 {0}。", "{0} of many {1}.": "多{1}中的 {0}。"})
    assert own.say("3 of many 4. 1 of 2.") == "多4中的 3。2 之 1。"
    assert own.say("3 of 4. Then more!") == "3 of 4. Then more!"
    assert own.one("3 of 4. 1 of 2") is None
    assert CheckWords("zh").rule("mine.own") == "own"
    assert CheckWords("zh").full("mine.own") == "mine：own"
    assert CheckWords("zh").says("mine.own") == ""
    assert CheckWords("en").says("json.repeated_key").startswith("An object holds one key twice")
