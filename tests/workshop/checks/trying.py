"""Records that are good, and running one check over some."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

from danlu.records import Message, Record
from danlu.workshop.checks import Check, Context, Finding, Verdict, run_checks

SYLLABLES = [f"{a}{b}" for a in "bdfgklmnprstvz" for b in ("a", "en", "i", "or", "u")]
# The beginning of the Thousand Character Classic: characters that are all different.
汉字 = (
    "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜金生丽水玉出昆冈"
    "剑号巨阙珠称夜光果珍李柰菜重芥姜海咸河淡鳞潜羽翔龙师火帝鸟官人皇始制文字乃服衣裳推位让国有虞陶唐"
)


def chat(
    id_: str, prompt: str = "Hi", answer: str = "Hello", task_type: str = "a/b", *tags: str
) -> Record:
    return Record(
        id_, task_type, (Message("user", prompt), Message("assistant", answer)), tags=tags
    )


def talk(id_: str, *turns: str, task_type: str = "a/b", system: str | None = None) -> Record:
    """A conversation: user, assistant, user …"""
    messages = [Message(("user", "assistant")[k % 2], text) for k, text in enumerate(turns)]
    if system is not None:
        messages.insert(0, Message("system", system))
    return Record(id_, task_type, tuple(messages))


def english(count: int, task_type: str = "write/story", seed: int = 0) -> list[Record]:
    """Open questions and answers, varied in wording and length."""
    draw = random.Random(seed)
    return [
        chat(
            f"en{seed}-{k}",
            _english(draw, draw.choice([1, 3, 9, 40])).replace(".", "?", 1),
            _english(draw, draw.choice([2, 5, 12, 45])),
            task_type,
        )
        for k in range(count)
    ]


def _english(draw: random.Random, sentences: int) -> str:
    """Sentences of words that do not exist, so that hardly two are alike."""

    def word() -> str:
        return "".join(draw.choices(SYLLABLES, k=draw.choice((2, 3))))

    said = [" ".join(word() for _ in range(draw.randrange(4, 10))) for _ in range(sentences)]
    return " ".join(f"{one.capitalize()}." for one in said)


def chinese(count: int, task_type: str = "写作/故事", seed: int = 0) -> list[Record]:
    """The same in Chinese."""
    draw = random.Random(seed)
    return [
        chat(
            f"zh{seed}-{k}",
            _chinese(draw, draw.choice([1, 3, 9, 40])),
            _chinese(draw, draw.choice([2, 5, 12, 45])),
            task_type,
        )
        for k in range(count)
    ]


def _chinese(draw: random.Random, sentences: int) -> str:
    said = ["".join(draw.choices(汉字, k=draw.randrange(6, 15))) for _ in range(sentences)]
    return "".join(f"{one}。" for one in said)


def run(
    check: Check, records: Iterable[Record], context: Context | None = None
) -> tuple[list[Finding], dict[str, Verdict]]:
    """Run one check; return its findings, and its verdicts by task type."""
    found: list[Finding] = []
    verdicts = run_checks(records, [check], context, on_finding=found.append)
    assert {verdict.check for verdict in verdicts} <= {check.name}
    assert all(finding.check == check.name for finding in found)
    return found, {verdict.task_type: verdict for verdict in verdicts}


def rules(
    check: Check, records: Record | Sequence[Record], context: Context | None = None
) -> list[str]:
    """Return the rules that are found, in order."""
    given = [records] if isinstance(records, Record) else records
    return [finding.rule for finding in run(check, given, context)[0]]


def call(name: str, arguments: Any, id_: str | None = None) -> dict[str, Any]:
    """A call of a tool in the OpenAI schema."""
    made = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return made if id_ is None else {**made, "id": id_}
