"""Where key information stands, use of history, use of system prompts."""

from __future__ import annotations

import pytest

from danlu.workshop.checks import HistoryUse, KeyPosition, SystemUse
from danlu.workshop.checks.content import content_places, content_set
from danlu.workshop.checks.history import depends_on_history
from danlu.workshop.checks.position import key_third
from danlu.workshop.likeness.text import units
from tests.workshop.checks.trying import chat, chinese, english, run, talk

FILL = "nobody in town could later recall what happened there before everything changed again "
填 = "那时候人们都还不知道后来会发生什么样的事情，一切看起来都和平常没有什么两样。"
FACT, 事实 = (
    "Engineer Petrova built bridge 47 across Volga.",
    "工程师陈海在长江上修建了四十七号大桥。",
)
TOLD, 答 = "Petrova, engineer of bridge 47.", "是工程师陈海修建的大桥。"


@pytest.mark.parametrize(
    ("fill", "fact", "told"), [(FILL, FACT, TOLD), (填, 事实, 答)], ids=["en", "zh"]
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_thirds(fill: str, fact: str, told: str, place: int) -> None:
    parts = [fill * 4] * 3
    parts[place] = fill * 2 + fact + fill * 2
    assert key_third(units("".join(parts).lower()), units(told.lower()), 3) == place


@pytest.mark.parametrize(
    ("fill", "fact", "told"), [(FILL, FACT, TOLD), (填, 事实, 答)], ids=["en", "zh"]
)
def test_key_information_always_at_the_end(fill: str, fact: str, told: str) -> None:
    end = [chat(str(k), fill * (6 + k % 5) + fact, told) for k in range(40)]
    verdict = run(KeyPosition(), end)[1]["a/b"]
    assert verdict.state == "attention"
    assert "In 100 % of 40 long prompts the key information is at the end." in verdict.advice
    begin = [chat(f"b{k}", fact + fill * 8, told) for k in range(40)]
    verdict = run(KeyPosition(), [*end, *begin])[1]["a/b"]
    assert (verdict.state, verdict.figures["beginning"], verdict.figures["end"]) == ("ok", 0.5, 0.5)
    assert run(KeyPosition(), [chat("1")])[1]["a/b"].state == "exempt"
    assert run(KeyPosition(), end[:9])[1]["a/b"].state == "too_few"


def test_content() -> None:
    english = units("what is the capital of peru in 1821")
    assert content_set(english) == {"capital", "peru", "1821"}
    places = [("capital", 3), ("peru", 5), ("1821", 7)]
    assert [*content_places(english, content_set(english))] == places
    assert [*content_places(english, {"peru", "what", "lima"})] == [("what", 0), ("peru", 5)]
    bridge = units("长江的大桥")
    assert content_set(bridge) == {"长江", "大桥"}
    assert [*content_places(bridge, {"大桥"})] == [("大桥", 3)]
    assert [*content_places(english, frozenset())] == []


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ("what does it mean?", True),
        ("why?", True),
        ("and the second one?", True),
        ("name three rivers of africa for a quiz", False),
        ("shorten your answer please", True),
        ("how large is the harbour of lisbon", True),
        ("它有多大？", True),
        ("继续", True),
        ("换一种说法再写一遍", True),
        ("推荐三部适合全家观看的动画电影", False),
        ("里斯本港口每年的吞吐量是多少", True),
        ("请介绍强化学习的基本原理", False),
    ],
)
def test_dependence(turn: str, expected: bool) -> None:
    before = frozenset({"lisbon", "harbour", "里斯", "斯本", "港口", "吞吐"})
    assert depends_on_history(turn, before) is expected


ON = ("Tell me about {a}.", "{a} is old.", "Why is it old?", "Because of time.")
OFF = ("Tell me about {a}.", "{a} is old.", "List three uses of {b} cheese in Norway.", "Three.")
承 = ("介绍一下{a}。", "{a}很古老。", "它为什么古老？", "因为年代久远。")
转 = ("介绍一下{a}。", "{a}很古老。", "推荐三部适合{b}观看的喜剧电影。", "好的，有三部。")


@pytest.mark.parametrize(("on", "off"), [(ON, OFF), (承, 转)], ids=["en", "zh"])
def test_history(on: tuple[str, ...], off: tuple[str, ...]) -> None:
    def conversations(turns: tuple[str, ...], count: int) -> list:
        filled = [[one.format(a=f"Rome{k}", b=f"Oslo{k}") for one in turns] for k in range(count)]
        return [talk(f"{turns[2]}{k}", *one) for k, one in enumerate(filled)]

    mixed = run(HistoryUse(), [*conversations(on, 30), *conversations(off, 30)])[1]["a/b"]
    assert (mixed.state, mixed.figures["dependent"]) == ("ok", 0.5)
    only_on = run(HistoryUse(), conversations(on, 60))[1]["a/b"]
    assert "0 % of 60 later turns change the topic" in only_on.advice
    only_off = run(HistoryUse(), conversations(off, 60))[1]["a/b"]
    assert "0 % of 60 later turns depend on history" in only_off.advice
    assert run(HistoryUse(), conversations(on, 9))[1]["a/b"].state == "too_few"
    single = run(HistoryUse(), [*english(40), *chinese(40)])[1]
    assert {one.state for one in single.values()} == {"exempt"}


@pytest.mark.parametrize(
    ("system", "prompt", "heeded", "ignored"),
    [
        ("Speak as Captain Ahab of the Pequod.", "Who are you?", "Captain Ahab, of course.", "Me."),
        ("你是丹炉客服小炭，只谈炼丹。", "你是谁？", "我是丹炉客服小炭。", "一个助手。"),
    ],
    ids=["en", "zh"],
)
def test_system_prompts(system: str, prompt: str, heeded: str, ignored: str) -> None:
    follows = [talk(f"f{k}", prompt, heeded, system=system) for k in range(40)]
    deaf = [talk(f"d{k}", prompt, ignored, system=system) for k in range(40)]
    plain = [talk(f"p{k}", prompt, ignored) for k in range(20)]
    verdict = run(SystemUse(), [*follows, *deaf, *plain])[1]["a/b"]
    assert verdict.state == "ok"
    assert verdict.figures == {
        "with_system": 80,
        "with_system_share": 0.8,
        "different_system_prompts": 1,
        "matters_share": 0.5,
    }
    verdict = run(SystemUse(), [*deaf, *plain])[1]["a/b"]
    assert verdict.state == "attention"
    assert "0 % take up what it says" in verdict.advice
    assert run(SystemUse(), plain)[1]["a/b"].state == "exempt"
    # What the user has said too is no effect of the system prompt.
    echo = [talk(f"e{k}", system, heeded, system=system) for k in range(40)]
    assert run(SystemUse(), echo)[1]["a/b"].state == "attention"
