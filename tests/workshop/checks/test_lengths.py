"""Balance of lengths, and answers that end."""

from __future__ import annotations

import pytest

from danlu.workshop.checks import LengthBalance
from danlu.workshop.checks.lengths import unended
from tests.workshop.checks.trying import chat, chinese, english, rules, run

FULL = "The furnace was lit in the morning. It burned all day, and when the evening came {}"
满 = "炉子早上就点着了。它烧了整整一天，到了傍晚的时候，{}"


def test_balanced_data() -> None:
    verdicts = run(LengthBalance(), [*english(200), *chinese(200)])[1]
    assert [one.state for one in verdicts.values()] == ["ok", "ok"]
    figures = verdicts["写作/故事"].figures
    shares = [figures[f"answer_{size}"] for size in ("short", "middle", "long")]
    assert sum(shares) == pytest.approx(1)
    assert min(shares) > 0.1


@pytest.mark.parametrize("word", ["stone ", "石"])
def test_everything_of_one_size(word: str) -> None:
    given = [chat(str(k), word * 20 + str(k), word * (40 + k % 20)) for k in range(60)]
    verdict = run(LengthBalance(), given)[1]["a/b"]
    assert verdict.state == "attention"
    assert "100 % of the prompts are short (under 32 units)" in verdict.advice
    assert "100 % of the answers are middle (32 to 255 units)" in verdict.advice
    assert verdict.figures["answer_p10"] == pytest.approx(42, abs=1)


@pytest.mark.parametrize("word", ["stone ", "石"])
def test_answers_of_one_length_and_few_words(word: str) -> None:
    even = [chat(str(k), word * (1 + k * 9), f"{k} " + word * (49 + k % 3)) for k in range(60)]
    verdict = run(LengthBalance(), even)[1]["a/b"]
    assert verdict.state == "fault"
    assert "Four fifths of the answers have 50 to 52 units" in verdict.advice
    few = [chat(str(k), word * (1 + k * 9), f"{k} {word * (k % 7)}") for k in range(60)]
    verdict = run(LengthBalance(), few)[1]["a/b"]
    assert verdict.state == "attention"
    assert "100 % of the answers have at most 8 units" in verdict.advice


def test_labels_may_be_short_and_equal() -> None:
    labels = ["yes", "no", "是", "否"]
    given = [chat(str(k), "why " * (1 + k * 9), labels[k % 4]) for k in range(60)]
    verdict = run(LengthBalance(), given)[1]["a/b"]
    assert (verdict.state, verdict.figures["closed_labels"]) == ("ok", True)


@pytest.mark.parametrize(
    ("text", "is_cut"),
    [
        (FULL.format("the people who had gathered around it began to tell"), True),
        (FULL.format("the people who had gathered around it began to tell,"), True),
        (满.format("围坐在旁边的人们开始讲起很久以前的"), True),
        (满.format("围坐在旁边的人们开始讲故事。"), False),
        (FULL.format("they told stories."), False),
        (FULL.format("they told stories.\n\nYours, Anna"), False),
        (满.format("围坐在旁边的人们开始讲故事。\n\n江南炼丹器具有限责任公司"), False),
        (FULL.format("they ate:\n- bread and cheese and the rest of the old red wine"), False),
        ("Roses are red and violets are blue\nsugar is sweet and so are you my dear", False),
        (FULL.format("this followed: (98.6 - 32) * 5 / 9 = 37 degrees of the Celsius kind"), False),
        (
            FULL.format("all was at https://example.com/a/very/long/address/of/a/page/to/read"),
            False,
        ),
        ("Code. See:\n```\nprint(1) and some more words that follow here without end\n```", False),
    ],
)
def test_endings(text: str, is_cut: bool) -> None:
    assert bool(unended(text, 8)) is is_cut
    assert rules(LengthBalance(), chat("1", "Go", text)) == ["no_ending"] * is_cut


def test_unended_answers_are_tolerated_to_a_share() -> None:
    cut = FULL.format("the people who had gathered around it began to tell")
    given = english(98)
    verdict = run(LengthBalance(), [*given, chat("c1", "Go on", cut, "write/story")])[1]
    assert verdict["write/story"].state == "ok"
    more = [chat(f"c{k}", "Go on", cut, "write/story") for k in range(5)]
    verdict = run(LengthBalance(), [*given, *more])[1]
    assert verdict["write/story"].state == "attention"
    assert "5 of 103 records: the answer ends in the middle" in verdict["write/story"].advice
