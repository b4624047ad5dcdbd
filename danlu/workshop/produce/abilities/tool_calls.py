"""``tools``: conversations in which tools are called, or rightly not called.

Declaration, call, result and answer, in the OpenAI schema; the arguments are JSON text that no
later step changes. Code plays the tools, so it knows what each call and each answer must be.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from danlu.errors import DanluError, did_you_mean
from danlu.generation.interface import Sampling
from danlu.records import Message, Record, content_id
from danlu.workshop.produce.abilities.common import (
    Wish,
    by_turns,
    expectations_of,
    phrase,
    reword,
    with_tools,
)
from danlu.workshop.produce.abilities.simulated import (
    Played,
    calculate,
    conversion,
    declarations,
    material,
    names,
    play,
    some_day,
)
from danlu.workshop.produce.common import (
    Asking,
    Rejects,
    answer_of,
    is_answered,
    made_record,
    prompt_of,
)
from danlu.workshop.produce.expectation import Expectation
from danlu.workshop.produce.prompts import LANGUAGES, Language, Prompts, language_of
from danlu.workshop.store.decision import Decision, Progress, keep, make
from danlu.workshop.store.settings import field_settings

Case = Literal[
    "one_call", "several_calls", "chained_calls", "no_call", "missing_argument", "failing"
]
CASES: tuple[Case, ...] = (
    "one_call",
    "several_calls",
    "chained_calls",
    "no_call",
    "missing_argument",
    "failing",
)
_CAN_FAIL = ("get_weather", "search_notes", "add_event", "list_events", "send_message")
"""Not what a model could work out by itself."""
_MOST_TRIES = 50


@dataclass
class Draft:
    """A conversation that is being made.

    Attributes:
        case: Which.
        language: Of what is said.
        needed: Names of the tools that must be declared.
        ask: What the user says.
        keep: What must stand in it.
        steps: Turns of the assistant: the calls of each, with their results as JSON.
        answer: The last one.
        expectations: Of it.
    """

    case: Case
    language: Language
    needed: tuple[str, ...]
    ask: str
    keep: tuple[str, ...]
    steps: list[list[tuple[str, str, str]]]
    answer: str
    expectations: tuple[Expectation, ...]


@dataclass(frozen=True)
class ToolCalls:
    """Makes conversations with the shipped tools.

    Attributes:
        count: How many.
        cases: In turn: ``one_call``, ``several_calls`` (in one turn), ``chained_calls`` (the second
            needs the result of the first), ``no_call`` (the question needs no tool: one of the
            answered records, where there are such in its language, or a shipped one),
            ``missing_argument`` (the assistant asks for it), ``failing`` (the tool returns an
            error, and the assistant says so).
        languages: In turn.
        others: Most tools that are declared and not needed.
        asking: Who says prompts and answers otherwise; None leaves them as code has written them.
        sampling: How.
        area: First level of the task types.
        prompts: The phrasings.
        seed: Of the draws.
        rejects: What was not taken is noted here.

    Raises:
        DanluError: If a case is not known, or a number out of range.
    """

    name: ClassVar[str] = "tools"
    revision: ClassVar[int] = 1

    count: int = 100
    cases: tuple[Case, ...] = CASES
    languages: tuple[Language, ...] = LANGUAGES
    others: int = 4
    asking: Asking | None = None
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=256))
    area: str = "tools"
    prompts: Prompts = field(default_factory=Prompts)
    seed: int = 0
    rejects: Rejects = field(
        default_factory=Rejects, metadata={"setting": False}, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        for case in self.cases:
            if case not in CASES:
                raise DanluError(f"there is no case {case!r}.{did_you_mean(case, CASES)}")
        if self.count < 1 or self.others < 0 or not self.cases or not self.languages:
            raise DanluError("count must be at least 1, others at least 0; give cases, languages.")

    def settings(self) -> dict[str, Any]:
        """Return the settings, and what the shipped tools are."""
        skipped = () if self.asking else ("sampling",)
        found = field_settings(self, skipped)
        return found | {"material": content_id([material(one) for one in self.languages])}

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Keep the records, and add conversations, some with the records' own questions."""
        ids = set()
        plain: dict[Language, list[Record]] = {language: [] for language in LANGUAGES}
        for record in records:
            ids.add(record.id)
            if is_answered(record) and len(record.messages) == 2 and not record.tools:
                plain[language_of(prompt_of(record))].append(record)
            yield keep(record)
        drafts = list(self._drafts(plain))
        if self.asking is not None:
            _reword(drafts, self.asking, self.sampling, self.prompts, self.rejects)
        for number, draft in enumerate(drafts):
            progress(self.name, number + 1, len(drafts))
            record = self._record(draft, number)
            if record.id not in ids:
                ids.add(record.id)
                yield make(record, f"{self.name}: {draft.case}")

    def _drafts(self, plain: Mapping[Language, Sequence[Record]]) -> Iterator[Draft]:
        """Draw drafts, no prompt twice; fewer than asked for where there are no more."""
        seen = set()
        for number, language in by_turns(self.languages, self.count):
            case = self.cases[number // len(self.languages) % len(self.cases)]
            for attempt in range(_MOST_TRIES):
                chance = random.Random(f"{self.seed}/{number}/{attempt}")
                if case == "no_call" and plain[language]:
                    draft = without_call(chance.choice(plain[language]), language)
                else:
                    draft = self._draft(case, language, chance)
                if draft.ask not in seen:
                    seen.add(draft.ask)
                    yield draft
                    break
            else:
                self.rejects.add(f"no more of {case} in {language}", draft.ask)

    def _draft(self, case: Case, language: Language, chance: random.Random) -> Draft:
        if case == "no_call":
            one = chance.choice(material(language)["none"])
            named = Expectation("mentions", one["value"])
            return Draft(case, language, (), one["ask"], (), [], one["answer"], (_NO_CALL, named))
        if case == "missing_argument":
            return self._missing(language, chance)
        if case == "chained_calls":
            return self._chained(language, chance)
        if case == "several_calls":
            return self._several(language, chance)
        name = chance.choice(_CAN_FAIL if case == "failing" else names())
        played = play(name, language, chance)
        ask = self._say(f"ask_{name}", language, chance, played.values)
        result, told = json.dumps(played.result, ensure_ascii=False), played.told
        answer = self._say(f"say_{name}", language, chance, played.values)
        expectations: tuple[Expectation, ...] = (_NO_CALL, Expectation("mentions", told))
        if case == "failing":
            error = chance.choice(material(language)["errors"])
            result = json.dumps({"error": error}, ensure_ascii=False)
            answer = self._say("say_failure", language, chance, {"error": error})
            invented = tuple(value for value in told if value not in ask)
            expectations = (_NO_CALL, Expectation("admits_failure"))
            if invented:
                expectations += (Expectation("mentions_none", invented),)
        steps = [[_call(name, played, result)]]
        return Draft(case, language, (name,), ask, _said(ask, played), steps, answer, expectations)

    def _several(self, language: Language, chance: random.Random) -> Draft:
        chosen = chance.sample(names(), 2)
        played = [play(name, language, chance) for name in chosen]
        asks, says = (
            [
                self._say(f"{kind}_{name}", language, chance, one.values)
                for name, one in zip(chosen, played, strict=True)
            ]
            for kind in ("ask", "say")
        )
        ask = self._say("join", language, chance, {"first": asks[0], "second": asks[1]})
        told = tuple(value for one in played for value in one.told)
        return Draft(
            "several_calls",
            language,
            tuple(chosen),
            ask,
            tuple(value for one in played for value in _said(ask, one)),
            [[_call(name, one) for name, one in zip(chosen, played, strict=True)]],
            "\n".join(says),
            (_NO_CALL, Expectation("mentions", told)),
        )

    def _chained(self, language: Language, chance: random.Random) -> Draft:
        a, b = (chance.randrange(11, 400) / 10 for _ in range(2))
        expression = f"{a:g} + {b:g}"
        total = calculate(expression)
        first = Played({"expression": expression}, {"result": total}, {}, ())
        second = conversion(material(language), float(total), "km", "mile")
        values = {"a": f"{a:g}", "b": f"{b:g}", "sum": total, "result": second.told[0]}
        return Draft(
            "chained_calls",
            language,
            ("calculate", "convert_units"),
            self._say("ask_chain", language, chance, values),
            (values["a"], values["b"]),
            [[_call("calculate", first)], [_call("convert_units", second)]],
            self._say("say_chain", language, chance, values),
            (_NO_CALL, Expectation("mentions", second.told)),
        )

    def _missing(self, language: Language, chance: random.Random) -> Draft:
        pools = material(language)
        one = chance.choice(pools["missing"])
        values = {
            "date": some_day(chance),
            "number": str(chance.randrange(2, 300)),
            "title": chance.choice(pools["titles"]),
            "person": chance.choice(pools["people"]),
        }
        ask = one["ask"].format(**values)
        said = tuple(value for value in values.values() if value in ask)
        question = Expectation("matches", "[?？]")
        return Draft(
            "missing_argument",
            language,
            (one["tool"],),
            ask,
            said,
            [],
            one["reply"],
            (_NO_CALL, question),
        )

    def _say(
        self, name: str, language: Language, chance: random.Random, values: Mapping[str, Any]
    ) -> str:
        return phrase(self.prompts, f"tools/{name}", language, chance, **values)

    def _record(self, draft: Draft, number: int) -> Record:
        chance = random.Random(f"{self.seed}/declared/{number}")
        known = declarations(draft.language)
        spare = [name for name in known if name not in draft.needed]
        least = 0 if draft.needed else 1
        others = chance.sample(
            spare, min(len(spare), chance.randint(least, max(least, self.others)))
        )
        declared = [*draft.needed, *others]
        chance.shuffle(declared)
        return conversation(
            draft, [known[name] for name in declared], f"{self.area}/{draft.case}", self.name
        )


_NO_CALL = Expectation("calls", ())


def without_call(record: Record, language: Language) -> Draft:
    """Return a record as a draft of the case that no tool is needed."""
    expected = (_NO_CALL, *expectations_of(record))
    ask, answer = prompt_of(record), answer_of(record)
    return Draft("no_call", language, (), ask, (ask,), [], answer, expected)


def _call(name: str, played: Played, result: str | None = None) -> tuple[str, str, str]:
    """Return a call and its result, as texts."""
    arguments = json.dumps(played.arguments, ensure_ascii=False)
    return name, arguments, result or json.dumps(played.result, ensure_ascii=False)


def _said(ask: str, played: Played) -> tuple[str, ...]:
    """Return the values of a call that a prompt names, which it must go on naming."""
    values = [str(value) for value in played.values.values() if not isinstance(value, list)]
    return tuple(dict.fromkeys(value for value in values if value in ask))


def _reword(
    drafts: Sequence[Draft],
    asking: Asking,
    sampling: Sampling,
    prompts: Prompts,
    rejects: Rejects,
) -> None:
    """Let a model say prompts and answers otherwise."""
    wishes = []
    for draft in drafts:

        def ask(text: str, draft: Draft = draft) -> None:
            draft.ask = text

        def answer(text: str, draft: Draft = draft) -> None:
            draft.answer = text

        named = [one.value for one in draft.expectations if one.kind == "mentions"]
        told = [value for one in named for value in (one if isinstance(one, tuple) else (one,))]
        kept = [str(value) for value in told if str(value) in draft.answer]
        if draft.ask in draft.keep:
            continue  # A record that is given stays as it is.
        wishes.append(Wish(draft.ask, draft.keep, ask))
        wishes.append(Wish(draft.answer, kept, answer, draft.expectations))
    reword(wishes, asking, sampling, prompts, rejects)


def conversation(
    draft: Draft, tools: Sequence[Mapping[str, Any]], task_type: str, maker: str
) -> Record:
    """Return a draft as a record, its calls and results in the OpenAI schema."""
    messages = [Message("user", draft.ask)]
    for step in draft.steps:
        calls: list[dict[str, Any]] = []
        results: list[Message] = []
        for name, arguments, result in step:
            id_ = "call_" + content_id([name, arguments, len(messages), len(calls)])[:12]
            function = {"name": name, "arguments": arguments}
            calls.append({"id": id_, "type": "function", "function": function})
            results.append(Message("tool", result, extra={"tool_call_id": id_, "name": name}))
        messages += [Message("assistant", None, extra={"tool_calls": calls}), *results]
    messages.append(Message("assistant", draft.answer))
    record = made_record(
        task_type,
        messages,
        maker,
        {"case": draft.case, "language": draft.language},
        expectations=[one.as_dict() for one in draft.expectations],
    )
    return with_tools(record, tools)
