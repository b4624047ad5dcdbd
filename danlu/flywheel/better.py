"""From turns to new data: the turns that are worth it, then better answers to them.

Two operations of the workshop. ``FindTurns`` keeps the turns that a rule speaks for; its ledger has
every turn that was ever read. ``BetterAnswers`` makes records of them: questions with the better
answer, or pairs of the better and the old answer to the same prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import regex

from danlu.errors import RecordError
from danlu.flywheel.choose import Find
from danlu.flywheel.config import FlywheelConfig
from danlu.generation.interface import Sampling
from danlu.records import Message, Record, Response
from danlu.records.formats.format import Parts
from danlu.records.ids import parts_id
from danlu.records.source import check_task_type
from danlu.workshop.likeness.text import fold
from danlu.workshop.produce.answer import JUDGING, problem_of
from danlu.workshop.produce.common import MADE, Asking, answer_message, prompt_of
from danlu.workshop.produce.prompts import Language, Prompts, language_of
from danlu.workshop.produce.request import Reply, Request, Unanswered
from danlu.workshop.store.decision import Decision, Entry, Progress, drop, make

NOTE = "flywheel"
"""Key of a record's ``meta`` under which stands where it comes from."""
What = Literal["sft", "pairs"]
USED, KEPT_AS_IT_IS = "used", "good as it is"
_FIRST_NUMBER = regex.compile(r"\d+")


def turn_record(find: Find, task_type: str) -> Record:
    """Return a turn as a record, with what speaks for it."""
    turn = find.link.seen.turn
    facts: dict[str, Any] = {
        "turn": find.link.seen.key,
        "source": find.link.seen.source,
        "place": find.link.seen.place,
        "time": turn.time,
        "model": turn.model,
        "adapter": turn.adapter,
        "data_version": turn.data_version,
        "rules": list(find.rules),
        "evidence": find.evidence,
        "given": find.given,
        "complaint": find.complaint,
        "votes": {"up": find.ups, "down": find.downs, "ignored": find.ignored},
        "bad": find.bad,
    }
    plain = {name: value for name, value in facts.items() if value not in ("", [], 0)}
    return Record(
        find.link.seen.key,
        turn.task_type if _is_task_type(turn.task_type) else task_type,
        turn.messages,
        turn.tools,
        source=find.link.seen.source,
        meta={NOTE: plain},
    )


def _is_task_type(text: str) -> bool:
    try:
        check_task_type(text)
    except RecordError:
        return False
    return True


@dataclass(frozen=True)
class FindTurns:
    """Keeps the turns that a rule speaks for.

    Attributes:
        config: The flywheel's ``keep``, ``voters`` and ``task_type``.
    """

    name: ClassVar[str] = "flywheel-find"
    revision: ClassVar[int] = 1

    config: FlywheelConfig

    def settings(self) -> dict[str, Any]:
        """Return what shapes the choice."""
        return self.config.model_dump(mode="json", include={"keep", "voters", "task_type"})

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Keep what has a rule, and say in the ledger which."""
        for record in records:
            note = record.meta[NOTE]
            rules = note.get("rules", [])
            place = note["place"]
            if rules:
                detail = f"{note['evidence']} ({place})"
                entry = Entry(record.id, record.task_type, "kept", rules[0], detail=detail)
                yield Decision(record, entry)
            else:
                yield drop(record, "nothing speaks for it", detail=place)


class _Answer(NamedTuple):
    """A better answer, or why there is none.

    Attributes:
        message: The answer; None if there is none.
        by: Whose it is.
        reason: Why there is none.
        detail: More about that.
    """

    message: Message | None
    by: str = ""
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class BetterAnswers:
    """Makes records with better answers of turns.

    An answer that somebody gave is taken as it is. Otherwise a strong model is asked, which is told
    what the user complained about; its answer must end by itself and differ from the old one and,
    with ``verify``, be judged better than it from both places.

    Attributes:
        asking: Who answers and judges.
        what: ``sft``: records to imitate; ``pairs``: the better and the old answer.
        sampling: How answers are drawn.
        verify: Whether answers are judged.
        prompts: How it is asked: ``better`` and ``judge``.
    """

    name: ClassVar[str] = "flywheel-answer"
    revision: ClassVar[int] = 1

    asking: Asking
    what: What
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=1024, greedy=True))
    verify: bool = True
    prompts: Prompts = field(default_factory=Prompts)

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Drop every turn, and make records of those that there is a better answer to."""
        turns = list(records)
        answers = self._answers(turns)
        seen: set[str] = set()
        for record in turns:
            made, why = self._made(record, answers[record.id])
            if made is None:
                yield why
                continue
            same = _sameness(made, self.what)
            if same in seen:
                yield drop(record, "same prompt", detail="another turn gave the same record")
                continue
            seen.add(same)
            yield why
            note = record.meta[NOTE]
            detail = f"{note['rules'][0]}; {made.meta[MADE]['answered_by']}; {note['place']}"
            yield make(made, self.name, partner=record.id, detail=detail)

    def _made(self, record: Record, answer: _Answer) -> tuple[Record | None, Decision]:
        """Return a new record, if there is one, and what becomes of the turn."""
        is_good = record.meta[NOTE]["rules"][0] == "fruitful session"
        if is_good and self.what == "pairs":
            return None, drop(record, KEPT_AS_IT_IS, detail="it has no second answer")
        if answer.message is None:
            return None, drop(record, answer.reason, detail=answer.detail)
        prompt, old = record.messages[:-1], record.messages[-1]
        if self.what == "sft":
            return self._record(record, (*prompt, answer.message), (), answer), drop(record, USED)
        if not (old.content or "").strip():
            return None, drop(record, "tools", detail="the old answer is a call and no text")
        responses = (
            Response(answer.message.content or "", rank=1),
            Response(old.content or "", rank=2),
        )
        return self._record(record, prompt, responses, answer), drop(record, USED)

    def _record(
        self,
        record: Record,
        messages: tuple[Message, ...],
        responses: tuple[Response, ...],
        answer: _Answer,
    ) -> Record:
        """Name a record by what it says, so that another day gives it the same name."""
        note = record.meta[NOTE]
        wanted = ("turn", "source", "place", "time", "model", "adapter", "data_version")
        origin = {name: note[name] for name in wanted if name in note}
        made = {"by": "flywheel", "rule": note["rules"][0], "answered_by": answer.by}
        if answer.by == "model":
            made |= {"model": self.asking.settings().get("model"), "verified": self.verify}
        return Record(
            parts_id(Parts(messages, record.tools, responses)),
            record.task_type,
            messages,
            record.tools,
            responses,
            ("flywheel",),
            record.source,
            {NOTE: origin, MADE: made},
        )

    # Asking ------------------------------------------------------------------------------

    def _answers(self, turns: Sequence[Record]) -> dict[str, _Answer]:
        """Return the better answer to each turn."""
        found: dict[str, _Answer] = {}
        wanted: list[Record] = []
        for record in turns:
            note = record.meta[NOTE]
            if note["rules"][0] == "fruitful session":
                found[record.id] = _Answer(record.messages[-1], "the served model")
            elif given := note.get("given"):
                by = "a user" if note["rules"][0] == "corrected" else "another answer"
                found[record.id] = _Answer(Message("assistant", given), by)
            elif record.tools or not (record.messages[-1].content or "").strip():
                detail = "a better answer may be a call, which the model is not asked for"
                found[record.id] = _Answer(None, reason="tools", detail=detail)
            else:
                wanted.append(record)
        outcomes = self.asking.ask([self._request(record) for record in wanted])
        new: list[tuple[Record, Reply]] = []
        for record, outcome in zip(wanted, outcomes, strict=True):
            problem = _problem(record, outcome)
            if problem or isinstance(outcome, Unanswered):
                found[record.id] = _Answer(None, reason="no usable answer", detail=problem)
            else:
                new.append((record, outcome))
        worse = self._worse(new) if self.verify else {}
        for record, reply in new:
            found[record.id] = worse.get(record.id) or _Answer(answer_message(reply), "model")
        return found

    def _request(self, record: Record) -> Request:
        prompt = record.messages[:-1]
        system = "\n\n".join(one.content or "" for one in prompt if one.role == "system")
        complaint = record.meta[NOTE].get("complaint", "")
        messages = self.prompts.render(
            "better",
            _language(record),
            system=system,
            complaint=complaint,
            old=(record.messages[-1].content or "") if complaint else "",
        )
        said = [one for one in prompt if one.role != "system"]
        return Request((*messages, *said), self.sampling, item=record.id)

    def _worse(self, new: Sequence[tuple[Record, Reply]]) -> dict[str, _Answer]:
        """Let the model judge with each answer in the first place; return what did not win both."""
        requests = [
            Request(self._judged(record, reply, first), JUDGING)
            for record, reply in new
            for first in (True, False)
        ]
        outcomes = iter(self.asking.ask(requests))
        worse = {}
        for record, _ in new:
            wins = 0
            for winner in (1, 2):
                outcome = next(outcomes)
                said = _FIRST_NUMBER.search(outcome.text) if isinstance(outcome, Reply) else None
                wins += said is not None and int(said[0]) == winner
            if wins < 2:
                detail = f"judged better than the old one in {wins} of 2 orders"
                worse[record.id] = _Answer(None, reason="not better", detail=detail)
        return worse

    def _judged(self, record: Record, reply: Reply, first: bool) -> tuple[Message, ...]:
        old = record.messages[-1].content or ""
        said = [one for one in record.messages[:-1] if one.role != "system"]
        task = "\n".join(one.content or "" for one in said)
        if complaint := record.meta[NOTE].get("complaint"):
            heading = "（后来用户说）" if _language(record) == "zh" else "(Later the user said:)"
            task = f"{task}\n\n{heading} {complaint}"
        answers = [reply.text, old] if first else [old, reply.text]
        return self.prompts.render("judge", _language(record), prompt=task, answers=answers)


def _problem(record: Record, outcome: Reply | Unanswered) -> str:
    """Say why an answer is not usable; nothing if it is."""
    if isinstance(outcome, Unanswered):
        return outcome.reason
    if problem := problem_of(outcome, (), _language(record)):
        return problem
    if fold(outcome.text) == fold(record.messages[-1].content or ""):
        return "it is the old answer again"
    if fold(outcome.text) == fold(prompt_of(record)):
        return "it repeats the question"
    return ""


def _language(record: Record) -> Language:
    return language_of(prompt_of(record))


def _sameness(record: Record, what: What) -> str:
    """Return what two records must not have in common: to imitate, the prompt; of pairs, all."""
    if what == "pairs":
        return record.id
    rules = record.meta[MADE]["rule"]
    messages = record.messages if rules == "fruitful session" else record.messages[:-1]
    return parts_id(Parts(messages, record.tools))
