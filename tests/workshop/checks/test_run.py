"""Running all checks, settings, and findings as an operation."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterable, Iterator
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

from danlu.errors import DanluError
from danlu.records import Record, write_records
from danlu.workshop.checks import (
    CHECKS,
    STATES,
    CheckRecords,
    Context,
    Finding,
    check_settings,
    choose,
    configure,
    find_rules,
    run_checks,
)
from danlu.workshop.execution.executor import HERE, Executor
from danlu.workshop.execution.processes import Processes
from danlu.workshop.store.store import Store
from tests.workshop.checks.trying import chat, chinese, english, talk
from tests.workshop.making import version_of

GOOD = [*english(120), *chinese(120)]
BAD = [
    chat("empty", "q", ""),
    chat("lost", "q", "caf\ufffd"),
    chat(
        "odd",
        "炼丹炉是中国古代炼制丹药的器具",
        "All of it is in English and so it goes on for a while " * 2,
        "a/b",
        "robustness",
    ),
    chat("phone", "q", "打 13912345076 找我"),
]


def test_good_data_give_no_fault() -> None:
    found: list[Finding] = []
    verdicts = run_checks(GOOD, CHECKS, on_finding=found.append)
    assert found == []
    assert len(verdicts) == 2 * len(CHECKS)
    by_state = {one.check: one.state for one in verdicts if one.state in ("fault", "attention")}
    assert by_state == {}
    assert {one.state for one in verdicts} <= set(STATES)


def test_order_of_records_changes_no_verdict() -> None:
    shuffled = [*GOOD, *BAD]
    random.Random(1).shuffle(shuffled)
    first, second = (
        run_checks(given, CHECKS, Context(seed=3), on_finding=lambda finding: None)
        for given in ([*GOOD, *BAD], shuffled)
    )
    assert {(one.task_type, one.check): one for one in first} == {
        (one.task_type, one.check): one for one in second
    }


def test_every_check_runs_on_nothing_and_on_one() -> None:
    assert run_checks([], CHECKS, on_finding=lambda finding: None) == []
    told: list[tuple[str, int, int | None]] = []
    verdicts = run_checks(
        [chat("1")], CHECKS, on_finding=lambda one: None, progress=lambda *one: told.append(one)
    )
    assert [one.check for one in verdicts] == [check.name for check in CHECKS]
    assert told == [("check", 1, 1)]


def test_checks_are_frozen_and_documented() -> None:
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names) == 22
    for check in CHECKS:
        rules = [rule.name for rule in check.rules]
        assert len(set(rules)) == len(rules) > 0
        settings = {one.name: one for one in check_settings(check)}
        assert all(one.meaning for one in settings.values())
        for rule in check.rules:
            assert rule.remedy.endswith((".", "?")), rule
            assert rule.limit in settings or rule.limit in ("", "sequences.max_length"), rule
        for one in fields(check):  # type: ignore[arg-type]
            with pytest.raises((FrozenInstanceError, TypeError)):
                setattr(check, one.name, 1)


def test_every_rule_stands_in_the_documentation() -> None:
    page = Path(__file__).parents[3] / "docs" / "checks.md"
    text = page.read_text("utf-8").replace("\\|", "|")
    for check in CHECKS:
        for rule in check.rules:
            line = next(one for one in text.splitlines() if f"`{check.name}.{rule.name}`" in one)
            assert rule.finds in line
            assert rule.remedy in line
        for setting in check_settings(check):
            assert f"| `{check.name}.{setting.name}` |" in text


def test_settings() -> None:
    changed = {
        one.name: one
        for one in configure(
            CHECKS,
            {
                "monotony.answer_share": "0.5",
                "position.least_units": "9",
                "own.file": "a.py",
            },
        )
    }
    assert changed["monotony"].answer_share == 0.5
    assert changed["position"].least_units == 9
    assert changed["own"].file == "a.py"
    assert [one.name for one in choose(CHECKS, ["leakage", "json"], [])] == ["json", "leakage"]
    assert len(choose(CHECKS, [], ["json"])) == len(CHECKS) - 1
    assert list(find_rules(CHECKS, ["json.schema", "lengths"])) == [
        "json.schema",
        "lengths.no_ending",
    ]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"monotoni.answer_share": "1"}, "no check 'monotoni'. Did you mean 'monotony'?"),
        ({"monotony.answershare": "1"}, "no setting 'answershare'. Did you mean 'answer_share'?"),
        ({"monotony.answer_share": "many"}, "is 'many'; it must be a number."),
        ({"position.least_units": "2.5"}, "is '2.5'; it must be a whole number."),
        ({"position.least_units": "-1"}, "is -1; it must be 0 or more."),
        ({"code.x": "1"}, "the check code has no settings"),
    ],
)
def test_settings_that_are_wrong(settings: dict[str, str], expected: str) -> None:
    with pytest.raises(DanluError) as caught:
        configure(CHECKS, settings)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            "structure.emty_turn",
            "no rule 'structure.emty_turn'. Did you mean 'structure.empty_turn'?",
        ),
        ("monotony", "monotony speaks of a task type as a whole"),
        ("lengths.prompts_one_size", "speaks of a task type as a whole"),
    ],
)
def test_rules_that_are_wrong(rule: str, expected: str) -> None:
    with pytest.raises(DanluError) as caught:
        CheckRecords(CHECKS, drop=(rule,))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("truncation.overlong", "truncation was not given a model (--model)"),
        ("leakage", "leakage was not given the evaluation's records (--evaluation)"),
        ("own", "own was not given a file of functions"),
    ],
)
def test_what_could_find_nothing_drops_nothing_in_silence(rule: str, expected: str) -> None:
    with pytest.raises(DanluError) as caught:
        CheckRecords(CHECKS, tag=(rule,))
    assert expected in str(caught.value)


def test_dropping_and_tagging(tmp_path: Path) -> None:
    store = Store(tmp_path / "datasets")
    parent = version_of(store, tmp_path, *GOOD, *BAD)
    operation = CheckRecords(
        CHECKS, drop=("structure", "mojibake.replacement_character", "language"), tag=("personal",)
    )
    version = store.apply(operation, parent)
    kept = {one.id: one for one in version.records()}
    assert kept.keys() == {one.id for one in (*GOOD, *BAD)} - {"empty", "lost"}
    assert kept["phone"].tags == ("check:personal.phone",)
    assert kept["odd"].tags == ("robustness",)
    ledger = {one.id: one for one in version.ledger()}
    assert (ledger["empty"].fate, ledger["empty"].rule) == ("dropped", "structure.empty_turn")
    assert ledger["lost"].rule == "mojibake.replacement_character"
    assert (ledger["phone"].fate, ledger["phone"].value) == ("edited", "139******76")
    assert ledger["phone"].detail.startswith("tagged check:personal.phone; message 2")
    assert (ledger["odd"].fate, ledger["odd"].detail) == ("kept", "kept by tag robustness")
    assert ledger["odd"].rule == "language.answer_language"
    assert ledger[GOOD[0].id].rule == ""
    # The same again is the same version; a tag that is there is not set twice.
    assert not store.apply(operation, parent).is_new
    again = store.apply(operation, version)
    assert {one.id: one.tags for one in again.records()}["phone"] == ("check:personal.phone",)


def test_other_settings_are_another_version(tmp_path: Path) -> None:
    own = tmp_path / "mine.py"
    own.write_text("def check_a(record):\n    return None\n", "utf-8")
    checks = tuple(configure(CHECKS, {"own.file": str(own)}))
    operation = CheckRecords(checks, drop=("own", "json"))
    first = operation.settings()
    assert set(first["checks"]) == {"own", "json"}
    own.write_text("def check_a(record):\n    return 'no'\n", "utf-8")
    assert operation.settings() != first
    evaluated = [
        CheckRecords(CHECKS, drop=("leakage",), context=Context(evaluation=one)).settings()
        for one in (GOOD[:2], GOOD[:3], GOOD[:4], [*GOOD[:3]])
    ]
    assert evaluated[1] == evaluated[3]
    assert evaluated[0] != evaluated[1] != evaluated[2]


def test_records_that_can_be_read_once(tmp_path: Path) -> None:
    def once() -> object:
        yield from BAD

    operation = CheckRecords(CHECKS, drop=("structure",))
    decisions = list(operation.decide(once(), lambda *told: None))  # type: ignore[arg-type]
    assert [one.entry.fate for one in decisions] == ["dropped", "kept", "kept", "kept"]


def test_findings_are_given_as_they_come(tmp_path: Path) -> None:
    order: list[str] = []

    def stream() -> object:
        for one in BAD:
            order.append(one.id)
            yield one

    run_checks(stream(), CHECKS, on_finding=lambda one: order.append(one.full_rule))  # type: ignore
    assert order.index("structure.empty_turn") < order.index("lost")


def test_records_of_any_shape_pass() -> None:
    from hypothesis import given, settings
    from hypothesis import strategies as st

    from danlu.records import Message

    text = st.one_of(
        st.text(max_size=40), st.sampled_from(["```python\n(", "{", "[1,", "(A) x (B) y"])
    )
    role = st.sampled_from(["system", "user", "assistant", "tool", "x"])
    messages = st.lists(st.builds(Message, role, text), min_size=1, max_size=5)

    @settings(max_examples=40)
    @given(st.lists(messages, max_size=4))
    def any_shape(conversations: list[list[Message]]) -> None:
        records = [Record(str(k), "a/b", tuple(one)) for k, one in enumerate(conversations)]
        run_checks(records, CHECKS, Context(evaluation=records[:2]), on_finding=lambda one: None)

    any_shape()


def test_findings_as_rows(tmp_path: Path) -> None:
    found: list[Finding] = []
    run_checks(BAD, CHECKS, on_finding=found.append)
    row = found[0].as_row()
    assert row["record_id"] == "empty"
    assert row["rule"] == "empty_turn"
    assert set(row) == {
        "record_id",
        "task_type",
        "check",
        "rule",
        "level",
        "value",
        "limit",
        "detail",
        "partner",
        "protected",
    }
    assert write_records(GOOD, tmp_path / "good.jsonl") == len(GOOD)


class Copied:
    """Works as processes do: two copies of the function, which see every other block."""

    def map(self, function: Any, items: Iterable[Any]) -> Iterator[Any]:
        copies = [pickle.loads(pickle.dumps(function)) for _ in range(2)]
        for number, item in enumerate(items):
            copied = pickle.loads(pickle.dumps(item))
            yield pickle.loads(pickle.dumps(copies[number % 2](copied)))


def _many() -> list[Record]:
    """Records for whose findings others matter that stand in other blocks."""
    labels = [chat(f"l{k}", f"对吗 {k % 40}？", "是否"[k // 40 % 2], "c/d") for k in range(90)]
    json = [chat(f"j{k}", f"{k}", '{"a": 1}' if k % 14 else "none", "e/f") for k in range(70)]
    clash = [
        chat(f"c{k}", f"Who is it {k % 30}?", one.messages[1].content or "")
        for k, one in enumerate(english(60, seed=4))
    ]
    later = [
        talk(f"t{k}", "Name a river in Africa.", "The Nile is one.", "And how long is it?", "Long.")
        for k in range(60)
    ]
    mixed = [*labels, *json, *clash, *later, *GOOD, *BAD]
    random.Random(5).shuffle(mixed)
    return mixed


@pytest.mark.parametrize("executor", [Copied(), Processes(2)], ids=["copies", "processes"])
def test_findings_are_the_same_wherever_records_are_looked_at(
    executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("danlu.workshop.execution.blocks.BLOCK_RECORDS", 37)
    records = _many()
    answers = [one.messages[1].content or "" for one in english(20)[4:]]
    held_out = [*english(4), chat("e", "Another question", max(answers, key=len))]
    context = Context(evaluation=held_out, closed_labels={"g/h": ["x"]}, seed=2)
    checks = configure(CHECKS, {"monotony.sample": "20", "expression.sample": "20"})
    told: list[list[Finding]] = [[], []]
    verdicts = [
        run_checks(records, checks, context, on_finding=found.append, executor=one)
        for found, one in zip(told, (HERE, executor), strict=True)
    ]
    assert told[0] == told[1]
    assert verdicts[0] == verdicts[1]
    rules = {one.full_rule for one in told[0]}
    across = {"conflicts.labels", "conflicts.answers", "json.not_json", "leakage.whole_prompt"}
    assert rules >= across | {"leakage.overlap"}
