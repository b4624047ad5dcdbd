"""``self-instruct``: new tasks from a few seeds (Wang et al. 2022, arXiv:2212.10560).

Rounds of requests show the model a draw of seeds and of tasks accepted before; what it invents is
filtered, and answered.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import regex

from danlu.errors import DanluError
from danlu.generation.interface import Sampling
from danlu.records import Message, Record, read_records
from danlu.workshop.likeness.text import fold
from danlu.workshop.operations.given import Pool
from danlu.workshop.operations.novelty import Novelty
from danlu.workshop.produce.answer import problem_of
from danlu.workshop.produce.common import (
    Asking,
    Rejects,
    Shot,
    answer_message,
    answer_of,
    made_record,
    prompt_of,
)
from danlu.workshop.produce.prompts import Language, Prompts, language_of
from danlu.workshop.produce.request import Reply, Request
from danlu.workshop.produce.unusable import unusable
from danlu.workshop.store.decision import Decision, Progress, keep, make
from danlu.workshop.store.store import no_progress

SEEDS = Path(__file__).parent / "data" / "seeds.jsonl"
UNKNOWN_TYPE = "unlabelled/self_instruct"
_TASK = regex.compile(
    r"^[#*\s]*(?P<word>(?:Task|任务)\s*)?(?P<number>\d{1,3})[.)、:：]?[ \t]*"
    r"(?:[\[【(（](?P<kind>[^\]】)）\n]*)[\]】)）])?"
    r"\**[ \t]*[:：.、)]?\**[ \t]*",
    regex.M | regex.I,
)


class _Idea(NamedTuple):
    """A task that a model has invented."""

    task_type: str
    prompt: str
    language: Language
    origin: str
    round: int


def seed_tasks() -> list[Record]:
    """Return the seed tasks that come with Danlu: Chinese and English, each with its answer."""
    return list(read_records(str(SEEDS)))


@dataclass(frozen=True)
class SelfInstruct:
    """Invents tasks like the records, and answers them.

    Attributes:
        asking: Who invents and answers.
        count: How many new records are wanted.
        sampling: How tasks are drawn; bold, since the filter sees to the rest.
        answering: How answers are drawn.
        languages: In which tasks are invented, in turn.
        shots_given: Examples in each prompt from the records.
        shots_made: Examples from the tasks accepted before. The paper shows 6 and 2.
        tasks_asked: New tasks asked for in one request.
        round_requests: Requests of one round; all see the same pool.
        most_rounds: The end, if ``count`` is not reached before.
        dry_rounds: Rounds without a single new task that end the work.
        novelty_limit: Highest ROUGE-L F1 to any prompt that is there; the paper's is 0.7.
        instances: Answers drawn for each task; a task whose answers conflict is left out where
            ``conflict`` says so.
        conflict: What ``instances`` that differ do: ``drop`` the task, or take the ``first``.
        prompts: How it is asked.
        seed: Of the draws.
        rejects: What was not taken is noted here.

    Raises:
        DanluError: If a setting is out of range.
    """

    name: ClassVar[str] = "self-instruct"
    revision: ClassVar[int] = 2

    asking: Asking
    count: int
    sampling: Sampling = field(
        default_factory=lambda: Sampling(max_new_tokens=1024, temperature=1.0, top_p=0.95)
    )
    answering: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=1024))
    languages: tuple[Language, ...] = ("zh", "en")
    shots_given: int = 6
    shots_made: int = 2
    tasks_asked: int = 8
    round_requests: int = 8
    most_rounds: int = 1000
    dry_rounds: int = 5
    novelty_limit: float = 0.7
    instances: int = 1
    conflict: Literal["drop", "first"] = "drop"
    prompts: Prompts = field(default_factory=Prompts)
    seed: int = 0
    rejects: Rejects = field(
        default_factory=Rejects, metadata={"setting": False}, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        if self.count < 1 or self.instances < 1 or self.round_requests < 1:
            raise DanluError("count, instances and round_requests must be at least 1.")
        if not self.languages:
            raise DanluError("say at least one language: zh or en.")
        if self.shots_given < 1:
            raise DanluError("shots_given must be at least 1: the model is shown what is wanted.")

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Keep the records, and add new ones until there are enough."""
        given = list(records)
        work = _Work(self, given)
        made = 0
        dry = 0
        found: list[Record] = []
        for round_ in range(self.most_rounds):
            new = work.round(round_, self.count - made)
            found += new
            made += len(new)
            dry = 0 if new else dry + 1
            progress(f"{self.name}: tasks", made, self.count)
            if made >= self.count or dry >= self.dry_rounds:
                break
        for record in given:
            yield keep(record)
        for record in found:
            yield make(record, self.name, record.meta["made"]["from"])


class _Work:
    """Self-instruct under way: the pool, and what was accepted."""

    def __init__(self, maker: SelfInstruct, given: Sequence[Record]) -> None:
        self._maker = maker
        self._pool: dict[str, str] = {}
        self._given: dict[Language, list[Shot]] = defaultdict(list)
        self._made: dict[Language, list[Shot]] = defaultdict(list)
        self._ids = {record.id for record in given}
        for record in given:
            prompt = prompt_of(record)
            if prompt:
                shot = Shot(record.id, record.task_type, prompt, answer_of(record))
                self._given[language_of(prompt)].append(shot)
                self._pool[record.id] = prompt
        self._types = sorted({record.task_type for record in given})
        if missing := [one for one in maker.languages if not self._given[one]]:
            raise DanluError(
                f"no record asks for anything in the language {missing[0]!r}; give seeds in it, or "
                "leave the language out."
            )

    def round(self, number: int, wanted: int) -> list[Record]:
        """Ask once, all requests seeing the same pool, and return what was accepted."""
        maker = self._maker
        requests, shown = [], []
        for k in range(maker.round_requests):
            language = maker.languages[k % len(maker.languages)]
            shots = self._draw(language, f"{maker.seed}/{number}/{k}")
            messages = maker.prompts.render(
                "self_instruct/tasks",
                language,
                count=maker.tasks_asked,
                shots=shots,
                task_types=self._types,
            )
            requests.append(Request(messages, maker.sampling, number * maker.round_requests + k))
            shown.append((language, shots))
        ideas: list[_Idea] = []
        for (language, shots), outcome in zip(shown, maker.asking.ask(requests), strict=True):
            if isinstance(outcome, Reply):
                ideas += self._ideas(outcome, language, shots, number)
        return self._answered(self._accepted(ideas, wanted))

    def _draw(self, language: Language, key: str) -> list[Shot]:
        maker, chance = self._maker, random.Random(key)
        made = self._made[language]
        shots = chance.sample(made, min(maker.shots_made, len(made)))
        given = self._given[language]
        missing = maker.shots_given + maker.shots_made - len(shots)
        shots = chance.sample(given, min(missing, len(given))) + shots
        chance.shuffle(shots)
        return shots

    def _ideas(
        self, reply: Reply, language: Language, shots: Sequence[Shot], number: int
    ) -> Iterator[_Idea]:
        tasks = tasks_in(reply.text, len(shots) + 1)
        if tasks and not reply.finished:
            tasks.pop()  # It was cut off.
        for task_type, prompt in tasks:
            known = task_type if task_type in self._types else UNKNOWN_TYPE
            yield _Idea(known, prompt, language, shots[0].id, number)

    def _accepted(self, ideas: Sequence[_Idea], wanted: int) -> list[_Idea]:
        """Return the ideas that can be used and are new, as many as are wanted."""
        maker = self._maker
        usable: list[_Idea] = []
        for idea in ideas:
            if rule := unusable(idea.prompt):
                maker.rejects.add(f"unusable: {rule}", idea.prompt, idea.origin)
            elif language_of(idea.prompt) != idea.language:
                maker.rejects.add("other language", idea.prompt, idea.origin)
            else:
                usable.append(idea)
        taken: list[_Idea] = []
        filter_ = Novelty(maker.novelty_limit, Pool(self._pool))
        records = [
            Record(f"{idea.round}/{k} (new)", idea.task_type, (Message("user", idea.prompt),))
            for k, idea in enumerate(usable)
        ]
        decisions = filter_.decide(records, no_progress)
        for idea, (record, entry) in zip(usable, decisions, strict=True):
            if entry.fate == "dropped":
                maker.rejects.add(entry.rule, idea.prompt, entry.partner, entry.value, entry.limit)
            elif len(taken) < wanted:
                taken.append(idea)
                self._pool[record.id] = idea.prompt
        return taken

    def _answered(self, ideas: Sequence[_Idea]) -> list[Record]:
        maker = self._maker
        requests = [
            Request(
                maker.prompts.render("plain_answer", idea.language, prompt=idea.prompt),
                maker.answering,
                k,
                f"{idea.round}/{idea.prompt}",
            )
            for idea in ideas
            for k in range(maker.instances)
        ]
        outcomes = maker.asking.ask(requests)
        found = []
        for place, idea in enumerate(ideas):
            own = outcomes[place * maker.instances : (place + 1) * maker.instances]
            good = [one for one in own if isinstance(one, Reply) and not problem_of(one)]
            if not good:
                first = own[0]
                told = problem_of(first) if isinstance(first, Reply) else first.reason
                maker.rejects.add("no usable answer", idea.prompt, idea.origin, told)
                continue
            answers = {fold(one.text) for one in good}
            if maker.conflict == "drop" and len(answers) > 1:
                maker.rejects.add("conflicting answers", idea.prompt, idea.origin, len(answers), 1)
                continue
            if record := self._record(idea, good[0]):
                found.append(record)
        return found

    def _record(self, idea: _Idea, reply: Reply) -> Record | None:
        maker = self._maker
        how = {**maker.asking.settings(), "from": idea.origin, "round": idea.round}
        messages = (Message("user", idea.prompt), answer_message(reply))
        record = made_record(idea.task_type, messages, maker.name, how)
        if record.id in self._ids:
            maker.rejects.add("novelty", idea.prompt, record.id, 1.0, maker.novelty_limit)
            return None
        self._ids.add(record.id)
        shot = Shot(record.id, record.task_type, idea.prompt, reply.text)
        self._made[idea.language].append(shot)
        return record


def tasks_in(text: str, first: int) -> list[tuple[str, str]]:
    r"""Read the tasks of an answer, each with its kind; empty where none is said.

    The answer goes on where the prompt ended, at ``Task <first>``; its first task may therefore
    begin with the kind at once.

    Example:
        >>> tasks_in("[a/b]: Sum up this text: ...\n\nTask 4 [c/d]: Write\ntwo lines", 3)
        [('a/b', 'Sum up this text: ...'), ('c/d', 'Write\ntwo lines')]
        >>> tasks_in("任务 3【甲/乙】：写一首诗\n任务 4：翻译", 3)
        [('甲/乙', '写一首诗'), ('', '翻译')]
    """
    marks: list[regex.Match[str]] = []
    last = first - 1
    for mark in _TASK.finditer(text):
        number = int(mark["number"])
        # A numbered list inside a task is no list of tasks: bare numbers must go on, or begin
        # with 1 where the answer begins.
        begins = not marks and number == 1 and not text[: mark.start()].strip()
        if mark["word"] or begins or number in (last + 1, last + 2):
            last = number
            marks.append(mark)
    begun = text[: marks[0].start()] if marks else text
    found = []
    opening = regex.match(r"\s*[\[【]([^\]】\n]*)[\]】]\s*[:：]?\s*", begun)
    if opening and begun[opening.end() :].strip():
        found.append((opening[1].strip(), begun[opening.end() :].strip()))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    for mark, end in zip(marks, ends, strict=True):
        if body := text[mark.end() : end].strip().strip("*").strip():
            found.append(((mark["kind"] or "").strip(), body))
    return found
