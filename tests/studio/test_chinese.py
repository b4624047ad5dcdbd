"""What the code says in English by itself has its Chinese: data checks, errors."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import yaml

import danlu
from danlu.records import Message, Record
from danlu.studio.check_words import CheckWords, _catalogue, _fixed
from danlu.studio.language import Words, _errors
from danlu.studio.phrases import Phrases
from danlu.workshop.checks import CHECKS, run_checks
from tests.studio.client import entered

PACKAGE = Path(danlu.__file__).parent
HAN = re.compile("[一-鿿]")
ENGLISH = re.compile(r"[a-z]{2,} [a-z]{2,}")  # one word may be a setting, a command, a token


def template(node: ast.expr) -> str | None:
    """What an expression says, with {0}, {1} … where values are put in; None: that is not fixed."""
    if isinstance(node, ast.Constant):
        return _fixed(node.value) if isinstance(node.value, str) else None
    if not isinstance(node, ast.JoinedStr):
        return None
    said, count = "", 0
    for part in node.values:
        if isinstance(part, ast.Constant):
            said += _fixed(part.value)
        else:
            said, count = f"{said}{{{count}}}", count + 1
    return said


def holds(said: str, translated: str) -> bool:
    """Whether a translation is Chinese and puts in no value that is not there."""
    own, other = ({part[1] for part in Formatter().parse(one)} for one in (said, translated))
    return bool(HAN.search(translated)) and other - {None} <= own


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
            elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "figures":
                assert isinstance(node.slice, ast.Constant)
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


# Errors ----------------------------------------------------------------------------------

# Where errors are made that a user of the pages can meet, whole or single files.
MAKERS = (
    "studio/*.py",
    "studio/chat/*.py",
    "studio/jobs/*.py",
    "studio/pages/*.py",
    "workshop/store/[lmns]*.py",
    "workshop/operations/edits.py",
    "workshop/execution/blocks.py",
    "runs/directory.py",
    "runs/files.py",
    "config/*.py",
    "evaluation/directory.py",
    "evaluation/voting/[bs]*.py",
)
ELSEWHERE = "studio/settings.py"  # said in the terminal, before there is a page
PYTHONS = ("RuntimeError", "TypeError", "KeyError", "AssertionError")


def made() -> Iterator[str]:
    """What errors say, as far as it is fixed."""
    for pattern in MAKERS:
        for path in sorted(PACKAGE.glob(pattern)):
            if path == PACKAGE / ELSEWHERE:
                continue
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if not isinstance(node, ast.Call) or not node.args:
                    continue
                name = ast.unparse(node.func)
                if name == "_no":
                    yield template(node.args[-1]) or ""
                elif name.endswith("Error") and name not in PYTHONS:
                    said = template(node.args[0])
                    # What a validator of the recipe raises is said with a full stop.
                    if said is not None and not name.startswith("ValueError"):
                        yield said
                    elif said is not None and path.parent.name == "config":
                        yield f"{said}."


def test_every_error_that_a_page_may_show_has_its_chinese() -> None:
    known = _errors("zh")
    wanted = {said for said in made() if re.search("[a-z]{3}", said)}
    assert len(wanted) > 100
    lacking = [said for said in sorted(wanted) if known.one(said) is None]
    assert not lacking


def test_no_error_is_left_over() -> None:
    """Whatever is translated stands somewhere in the package, or is a framework's."""
    path = PACKAGE / "studio" / "languages" / "errors.zh.yaml"
    given = yaml.safe_load(path.read_text("utf-8"))
    strings = {"Not Found", "Method Not Allowed"}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, (ast.Constant, ast.JoinedStr)) and (said := template(node)):
                strings |= {said, f"{said}.", f" {said}"}
    pydantic = {one for one in given["values"] if "than" in one}
    left = (given["sentences"].keys() | given["values"].keys()) - strings - pydantic
    assert not {one for one in left if one != "Did you mean {0}?"}
    for group in (given["sentences"], given["values"]):
        assert [one for one, said in group.items() if not holds(one, said)] == []


def test_errors_are_said_with_their_places_and_hints() -> None:
    say = Words("zh").error
    assert say("runs/x: there is no such run.") == "runs/x: 没有这个训练。"
    recipe = "f.yaml:3: training.learnig_rate: unknown setting. Did you mean 'learning_rate'?"
    assert say(recipe) == (
        "f.yaml:3: training.learnig_rate: 没有这个设置。您是不是想写 'learning_rate'？"
    )
    assert say("training.epochs: 'x' was given; it must be a number. Or: a.\nfine") == (
        "training.epochs: 给的是 'x'；必须是数。或者：a.\nfine"
    )
    both = "/w: there is no such run. Runs there: a, b."
    assert say(both) == "/w: 没有这个训练。那里有的训练：a, b。"
    assert say("of tomorrow: no words for this.") == "of tomorrow: no words for this."
    assert Words("en").error(recipe) == recipe


def test_pages_say_errors_in_the_readers_language(tmp_path: Path) -> None:
    client, shared = entered(tmp_path)
    addresses = {
        "/runs/show/runs/none": "没有这个训练",
        "/data/version/none": "没有数据集",
        "/jobs/none": "没有这个任务",
        "/nowhere": "没有这个页面",
        "/evaluation/cases?a=x&b=y": "没有这次评测",
        "/diagnosis/result/none?path=x": "没有这",
    }
    for address, expected in addresses.items():
        english = client.get(address, headers={"accept-language": "en"})
        chinese = client.get(address, headers={"accept-language": "zh"})
        assert english.status_code == chinese.status_code >= 400, address
        assert expected in chinese.text, address
        assert expected not in english.text
    form = {"s.name": "../x", "s.training.epochs": "-1"}
    checked = client.post("/runs/new/check", data=form, headers={"accept-language": "zh"})
    assert "必须是大于 0 的数" in checked.text
    assert "是一个文件夹的名字" in checked.text
    bare = client.post("/jobs/stop", headers={"x-csrf-token": "x", "accept-language": "zh"})
    assert "这个页面已过时" in bare.text
    shared.close()
