"""Which turns are worth a better answer: one rule after another, in Chinese and English."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from danlu.flywheel.chains import chains
from danlu.flywheel.choose import Chosen, Find, choose
from danlu.flywheel.config import KeepSection, LogSection, VotersSection
from danlu.flywheel.memory import Memory
from danlu.flywheel.pull import pull
from danlu.records import Message
from danlu.records.capture import Feedback, Turn, Vote
from tests.flywheel.talking import down, session, up, write_log


def chosen(folder: Path, *entries: Turn | Feedback, voters: Any = None, **keep: Any) -> Chosen:
    path = write_log(folder / "log.jsonl", *entries)
    with Memory(folder / "memory") as memory:
        pull(memory, LogSection(path=str(path)))
        links = chains(memory.turns())
    return choose(links, KeepSection(**keep), VotersSection(**(voters or {})))


def finds(folder: Path, *entries: Turn | Feedback, **settings: Any) -> dict[str, Find]:
    """Return the finds by what was asked last."""
    return {one.link.question: one for one in chosen(folder, *entries, **settings).finds}


def rules(folder: Path, *entries: Turn | Feedback, **settings: Any) -> dict[str, tuple[str, ...]]:
    return {asked: one.rules for asked, one in finds(folder, *entries, **settings).items()}


def test_a_correction_condemns_the_answer_before_it(tmp_path: Path) -> None:
    first = session(
        "a",
        "Java有多大",
        "它是一门语言",
        "不对，我问的是爪哇岛",
        "约13万平方公里",
        "谢谢",
        "不客气",
    )
    second = session("b", "How big is Java?", "It is a language.", "No, I meant the island.", "Big")
    found = finds(tmp_path, *first, *second)
    assert {asked: one.rule for asked, one in found.items() if one.rule} == {
        "Java有多大": "follow-up",
        "How big is Java?": "follow-up",
    }
    assert found["Java有多大"].evidence == "不对"
    assert found["Java有多大"].complaint == "不对，我问的是爪哇岛"


def test_the_first_words_of_a_session_are_no_correction(tmp_path: Path) -> None:
    assert rules(tmp_path, *session("a", "不对，是哪里错了？", "请把代码发来")) == {
        "不对，是哪里错了？": ()
    }


def test_rules_can_be_switched_off_and_patterns_added(tmp_path: Path) -> None:
    talk = session("a", "Wie groß ist Java?", "Eine Sprache.", "Ganz falsch!", "Eine Insel.")
    assert rules(tmp_path, *talk)["Wie groß ist Java?"] == ()
    assert rules(tmp_path, patterns=["falsch"])["Wie groß ist Java?"] == ("follow-up",)
    assert rules(tmp_path, patterns=["falsch"], follow_ups=False)["Wie groß ist Java?"] == ()


def test_asked_again(tmp_path: Path) -> None:
    talk = session("a", "北京明天会下雨吗", "我是助手", "我问北京明天会下雨吗？", "会", "好", "嗯")
    assert rules(tmp_path, *talk)["北京明天会下雨吗"] == ("asked again",)


def test_votes_decide_by_majority_and_the_last_one_of_a_voter_counts(tmp_path: Path) -> None:
    talk = [*session("a", "eins", "1"), *session("b", "zwei", "2"), *session("c", "drei", "3")]
    votes = [down("a-0", "x"), up("a-0", "x"), down("b-0", "x"), down("b-0", "y"), up("b-0", "z")]
    found = finds(tmp_path, *talk, *votes, down("c-0", "x", text="zu kurz"))
    assert found["eins"].rules == ()
    assert found["zwei"].rule == "thumbs down"
    assert found["zwei"].evidence == "2 down, 1 up"
    assert found["drei"].complaint == "zu kurz"


def test_a_corrected_answer_stands_first(tmp_path: Path) -> None:
    talk = session("a", "2+2?", "5", "错了", "抱歉")
    votes = [down("a-0", corrected="4"), Feedback("a-1", Vote("w", corrected=" 抱歉 "))]
    found = finds(tmp_path, *talk, *votes)
    assert found["2+2?"].rules == ("corrected", "thumbs down", "follow-up")
    assert found["2+2?"].given == "4"
    assert found["错了"].rules == ()  # "corrected" to what it was


def test_one_answer_up_and_one_down_to_the_same_prompt(tmp_path: Path) -> None:
    talk = [
        *session("a", "Tell a joke", "bad", system="s"),
        *session("b", "Tell a joke", "good", system="s"),
        *session("c", "Tell a joke", "good", system="another prompt"),
        *session("d", "Sing", "la"),
    ]
    votes = [down("a-0"), up("b-0"), up("c-0"), down("d-0")]
    found = chosen(tmp_path, *talk, *votes).finds
    assert [one.rules for one in found] == [("vote pair", "thumbs down"), (), (), ("thumbs down",)]
    assert found[0].given == "good"
    assert rules(tmp_path, vote_pairs=False)["Sing"] == ("thumbs down",)


def test_long_fruitful_sessions(tmp_path: Path) -> None:
    words = ("q1", "a1", "q2", "a2", "q3", "a3")
    talk = [
        *session("good", *words, "谢谢，太好了", "不客气"),
        *session("good2", *words, "q4 praised", "a4"),
        *session("silent", *words, "q4 silent", "a4"),
        *session("bad", *words, "wrong!", "sorry", "thanks bad", "ok"),
        *session("short", "s1", "a", "thanks short", "ok"),
        *session("voted", *words, "thanks voted", "ok"),
    ]
    found = finds(tmp_path, *talk, up("good2-1"), down("voted-0"))
    assert {asked for asked, one in found.items() if one.is_good} == {"谢谢，太好了", "q4 praised"}
    assert found["q4 praised"].evidence == "4 questions, a vote up"
    assert rules(tmp_path, fruitful_turns=5)["谢谢，太好了"] == ()


def test_the_same_question_answered_badly_twice(tmp_path: Path) -> None:
    talk = [*session("a", "退款多久到账", "不知道"), *session("b", "退款多久到賬", "看情况")]
    found = finds(tmp_path, *talk, down("a-0"), down("b-0", "w"))
    assert found["退款多久到账"].rules == ("thumbs down", "repeated error")
    assert found["退款多久到賬"].bad == 2


def test_sessions_of_single_questions_are_joined_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    rows = [
        "会话,时间,问题,回答",
        "s,2026-11-21 10:05,不是，我说的是明天,晴",
        "s,2026-11-21 10:00,天气,雨",
        "t,2026-11-21 10:01,不是，我说的是明天,晴",
    ]
    path.write_text("\n".join(rows) + "\n", "utf-8")
    with Memory(tmp_path / "memory") as memory:
        pull(memory, LogSection(path=str(path), format="csv"))
        links = chains(memory.turns())
    [late, early, other] = choose(links, KeepSection(), VotersSection()).finds
    assert early.rules == ("follow-up",)
    assert [one.content for one in late.link.messages] == ["天气", "雨", "不是，我说的是明天", "晴"]
    assert (late.rules, other.rules) == ((), ())


def test_a_user_who_goes_back_begins_a_second_branch(tmp_path: Path) -> None:
    talk = session("a", "one", "1", "no, that is wrong", "2")
    again = session("a", "one", "1", "and two?", "2")[1]
    again = Turn("a-9", again.messages, "2026-11-21T11:00:00.000Z", "a")
    found = chosen(tmp_path, *talk, again)
    assert [one.rules for one in found.finds] == [("follow-up",), (), ()]
    assert len(found.finds[0].link.after) == 2


def test_votes_of_an_inverted_voter_do_not_count(tmp_path: Path) -> None:
    mixed = "ududdudduuuddudu"
    talk = [one for n in range(len(mixed)) for one in session(f"s{n}", f"q{n}", f"a{n}")]
    votes = []
    for number, letter in enumerate(mixed):
        honest, other = (up, down) if letter == "u" else (down, up)
        votes += [honest(f"s{number}-0", "h1"), honest(f"s{number}-0", "h2")]
        votes += [other(f"s{number}-0", "troll")]
    extra = [*session("x", "only the troll voted", "fine"), down("x-0", "troll", corrected="spam")]
    found = chosen(tmp_path, *talk, *votes, *extra)
    by_question = {one.link.question: one for one in found.finds}
    assert [one.state for one in found.voters.values()].count("inverted") == 1
    assert by_question["only the troll voted"].rules == ()
    assert by_question["only the troll voted"].ignored == 1
    assert found.counts() == {"thumbs down": mixed.count("d")}
    kept = finds(tmp_path, voters={"inverted": "keep"})
    assert kept["only the troll voted"].rule == "corrected"


def test_tool_calls_and_white_space_do_not_break_a_chain(tmp_path: Path) -> None:
    call = Message("assistant", None, extra={"tool_calls": [{"function": {"name": "f"}}]})
    asked = (Message("user", "Weather?"), call, Message("tool", "-2"))
    first = Turn("t1", (*asked, Message("assistant", "Cold. ")), session="s")
    later = (Message("assistant", "Cold."), Message("user", "wrong"), Message("assistant", "Hot"))
    found = rules(tmp_path, first, Turn("t2", (*asked, *later), session="s"))
    assert found == {"Weather?": ("follow-up",), "wrong": ()}
