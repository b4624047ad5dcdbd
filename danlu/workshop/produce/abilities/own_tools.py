"""``tools`` with declarations of one's own: a model writes requests, results and answers.

Code checks what can be checked: the arguments match the declaration; asked again, the model finds
the same arguments in its request; the result is JSON; the answer names something of the result.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from danlu.errors import DanluError, did_you_mean
from danlu.generation.interface import Sampling
from danlu.records import Record
from danlu.workshop.checks.schema import schema_of
from danlu.workshop.produce.abilities.common import by_turns
from danlu.workshop.produce.abilities.simulated import material
from danlu.workshop.produce.abilities.tool_calls import Draft, conversation
from danlu.workshop.produce.answer import problem_of
from danlu.workshop.produce.common import Asking, Rejects
from danlu.workshop.produce.expectation import Expectation, first_problem, parsed
from danlu.workshop.produce.measures import call_form, mentions
from danlu.workshop.produce.prompts import LANGUAGES, Language, Prompts, language_of
from danlu.workshop.produce.request import Reply, Request
from danlu.workshop.store.decision import Decision, Progress, keep, make

OwnCase = Literal["one_call", "failing"]
OWN_CASES: tuple[OwnCase, ...] = ("one_call", "failing")
READING = Sampling(max_new_tokens=256, greedy=True)
_LEAST_VALUE = 2
"""Characters of a value that an answer may be expected to name."""


def read_declarations(path: Path | str) -> list[Mapping[str, Any]]:
    """Read tool declarations: JSON, a list of tools in the OpenAI schema, or their functions.

    Raises:
        DanluError: If the file cannot be read, or a declaration lacks something.
    """
    where = str(path)
    try:
        rows = json.loads(Path(path).read_text("utf-8-sig"))
    except FileNotFoundError as error:
        raise DanluError("there is no such file of tools.", where=where) from error
    except (OSError, ValueError) as error:
        raise DanluError(f"the tools cannot be read as JSON: {error}.", where=where) from error
    if isinstance(rows, Mapping):
        rows = rows.get("tools", [rows])
    if not isinstance(rows, list) or not rows:
        raise DanluError("a file of tools is a list of declarations.", where=where)
    found: dict[str, Mapping[str, Any]] = {}
    for number, row in enumerate(rows, 1):
        function = row.get("function", row) if isinstance(row, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise DanluError(f"tool {number} has no name.", where=where)
        name, parameters = function["name"], function.get("parameters", {})
        if name in found:
            raise DanluError(f"the tool {name!r} is declared twice.", where=where)
        if not isinstance(parameters, Mapping):
            raise DanluError(f"the parameters of {name!r} are no object.", where=where)
        if fault := schema_of(parameters).fault:
            raise DanluError(f"the parameters of {name!r} are no schema: {fault}.", where=where)
        found[name] = {"type": "function", "function": dict(function)}
    return list(found.values())


@dataclass
class _Work:
    """A conversation that is being made."""

    tool: Mapping[str, Any]
    language: Language
    case: OwnCase
    number: int
    request: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    result: str = ""
    answer: str = ""
    expectations: tuple[Expectation, ...] = ()

    @property
    def function(self) -> Mapping[str, Any]:
        function: Mapping[str, Any] = self.tool["function"]
        return function


@dataclass(frozen=True)
class OwnTools:
    """Makes conversations with declared tools.

    Attributes:
        asking: Who writes.
        tools: In the OpenAI schema; called in turn.
        count: How many conversations are tried; those that fail a check are rejected.
        cases: In turn: ``one_call``, and ``failing``, where the tool returns an error.
        languages: In turn.
        sampling: How requests, results and answers are drawn.
        area: First level of the task types.
        prompts: How it is asked.
        seed: Of the draws.
        rejects: What was not taken is noted here.

    Raises:
        DanluError: If a case is not known, or there is no tool.
    """

    name: ClassVar[str] = "tools"
    revision: ClassVar[int] = 1

    asking: Asking
    tools: tuple[Mapping[str, Any], ...]
    count: int = 100
    cases: tuple[OwnCase, ...] = OWN_CASES
    languages: tuple[Language, ...] = LANGUAGES
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=512))
    area: str = "tools"
    prompts: Prompts = field(default_factory=Prompts)
    seed: int = 0
    rejects: Rejects = field(
        default_factory=Rejects, metadata={"setting": False}, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        for case in self.cases:
            if case not in OWN_CASES:
                raise DanluError(
                    f"with tools of one's own there is no case {case!r}, only "
                    f"{' and '.join(OWN_CASES)}.{did_you_mean(case, OWN_CASES)}"
                )
        if self.count < 1 or not (self.tools and self.cases and self.languages):
            raise DanluError("count must be at least 1; give tools, cases and languages.")

    def decide(self, records: Iterable[Record], progress: Progress) -> Iterator[Decision]:
        """Keep the records, and add conversations."""
        ids = set()
        for record in records:
            ids.add(record.id)
            yield keep(record)
        work = self._begun()
        for step in (self._requested, self._called, self._returned, self._answered):
            work = step(work)
        for one in work:
            record = self._record(one)
            if record.id not in ids:
                ids.add(record.id)
                yield make(record, f"{self.name}: {one.case}")

    def _begun(self) -> list[_Work]:
        found = []
        for number, language in by_turns(self.languages, self.count):
            turn, place = divmod(number // len(self.languages), len(self.tools))
            case = self.cases[turn % len(self.cases)]  # Each tool in one case, then in the next.
            found.append(_Work(self.tools[place], language, case, number))
        return found

    # Each step asks, and passes on what holds ---------------------------------------------

    def _ask(
        self, work: Sequence[_Work], prompt: str, sampling: Sampling
    ) -> Iterator[tuple[_Work, Reply]]:
        requests = []
        for one in work:
            values = {
                "declaration": json.dumps(one.function, ensure_ascii=False),
                "name": one.function["name"],
                "number": one.number + 1,
                "request": one.request,
                "arguments": json.dumps(one.arguments, ensure_ascii=False),
                "result": one.result,
                "failed": one.case == "failing",
            }
            messages = self.prompts.render(f"tools/{prompt}", one.language, **values)
            requests.append(Request(messages, sampling, one.number))
        for one, outcome in zip(work, self.asking.ask(requests), strict=True):
            if not isinstance(outcome, Reply):
                self.rejects.add(f"{prompt}: no answer", outcome.reason, one.function["name"])
            elif problem := problem_of(outcome):
                self.rejects.add(f"{prompt}: {problem}", outcome.text, one.function["name"])
            else:
                yield one, outcome

    def _requested(self, work: Sequence[_Work]) -> list[_Work]:
        found = []
        for one, reply in self._ask(work, "own_request", self.sampling):
            if rule := self._take_request(one, reply):
                self.rejects.add(rule, reply.text, one.function["name"])
            else:
                found.append(one)
        return found

    def _take_request(self, one: _Work, reply: Reply) -> str | None:
        row = _object(reply.text)
        if row is None or not isinstance(row.get("request"), str) or not row["request"].strip():
            return "request: no JSON with a request"
        arguments = row.get("arguments")
        if not isinstance(arguments, Mapping):
            return "request: the arguments are no object"
        parameters = one.function.get("parameters", {})
        if schema_of(parameters).faults(dict(arguments)):
            return "request: the arguments do not match the declaration"
        if not set(arguments) <= set(parameters.get("properties", {})):
            return "request: an argument is not declared"
        if language_of(row["request"]) != one.language:
            return "request: another language"
        one.request, one.arguments = row["request"].strip(), arguments
        return None

    def _called(self, work: Sequence[_Work]) -> list[_Work]:
        """Keep requests in which the same arguments are found again."""
        found = []
        for one, reply in self._ask(work, "own_call", READING):
            row = _object(reply.text)
            row = row.get("arguments", row) if row is not None else None
            same = isinstance(row, Mapping) and _form(one, row) == _form(one, one.arguments)
            if same:
                found.append(one)
            else:
                self.rejects.add("request: its call is not clear", one.request, reply.text)
        return found

    def _returned(self, work: Sequence[_Work]) -> list[_Work]:
        for one in work:
            if one.case == "failing":
                chance = random.Random(f"{self.seed}/{one.number}")
                error = chance.choice(material(one.language)["errors"])
                one.result = json.dumps({"error": error}, ensure_ascii=False)
        wanted = [one for one in work if not one.result]
        for one, reply in self._ask(wanted, "own_result", self.sampling):
            row = _object(reply.text)
            if row is None:
                self.rejects.add("result: no JSON object", reply.text, one.function["name"])
            else:
                one.result = json.dumps(row, ensure_ascii=False)
        return [one for one in work if one.result]

    def _answered(self, work: Sequence[_Work]) -> list[_Work]:
        found = []
        for one, reply in self._ask(work, "own_answer", self.sampling):
            expected: tuple[Expectation, ...] = (Expectation("calls", ()),)
            if one.case == "failing":
                expected += (Expectation("admits_failure"),)
            else:
                named = [v for v in _values(json.loads(one.result)) if mentions(reply.text, v)]
                new = [v for v in named if not mentions(one.request, v)] or named
                if not new:
                    self.rejects.add("answer: names nothing of the result", reply.text, one.result)
                    continue
                expected += (Expectation("mentions", tuple(dict.fromkeys(new))),)
            if problem := first_problem(expected, reply.text):
                self.rejects.add("answer: not as expected", reply.text, problem)
                continue
            one.answer, one.expectations = reply.text, expected
            found.append(one)
        return found

    def _record(self, one: _Work) -> Record:
        arguments = json.dumps(one.arguments, ensure_ascii=False)
        name = one.function["name"]
        draft = Draft(
            one.case,
            one.language,
            (name,),
            one.request,
            (),
            [[(name, arguments, one.result)]],
            one.answer,
            one.expectations,
        )
        return conversation(draft, self.tools, f"{self.area}/{one.case}", self.name)


def _object(text: str) -> Mapping[str, Any] | None:
    """Return the JSON object that a text is, or that stands in it."""
    for candidate in (text, text[text.find("{") : text.rfind("}") + 1]):
        try:
            found = parsed(candidate)
        except ValueError:
            continue
        if isinstance(found, Mapping):
            return found
    return None


def _form(one: _Work, arguments: Mapping[str, Any]) -> str:
    return call_form({"name": one.function["name"], "arguments": arguments})


def _values(tree: Any) -> Iterator[str]:
    """Yield the texts and numbers of a result."""
    if isinstance(tree, Mapping):
        for inner in tree.values():
            yield from _values(inner)
    elif isinstance(tree, list):
        for inner in tree:
            yield from _values(inner)
    elif isinstance(tree, int | float) and not isinstance(tree, bool):
        yield str(tree)
    elif isinstance(tree, str) and len(tree) >= _LEAST_VALUE:
        yield tree
