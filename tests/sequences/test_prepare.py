"""From records to arrays: worked by hand, against the plain way, and in every mode."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.config.recipe import SequencesSection
from danlu.errors import RecordError, TemplateError
from danlu.records.record import Message, Record
from danlu.sequences import chunks
from danlu.sequences.encode import encode_completion, encode_prompt
from danlu.sequences.prepare import preparation_key, prepare
from danlu.sequences.prepared import PreparedData
from danlu.sequences.template import ChatTemplate

DTYPES = {
    "input_ids": "int32",
    "weights": "float32",
    "offsets": "int64",
    "branch_record": "int32",
    "branch_channel": "int32",
    "branch_index": "int32",
    "prompt_tokens": "int32",
    "record_offsets": "int64",
    "record_channel": "int32",
    "record_position": "int64",
}


def record(number: int, task_type: str, *texts: str, weights: tuple[float, ...] = ()) -> Record:
    """A conversation in which user and assistant take turns."""
    messages = [
        Message("assistant", text, weights[i // 2] if weights else 1.0)
        if i % 2
        else Message("user", text)
        for i, text in enumerate(texts)
    ]
    return Record(f"r{number}", task_type, tuple(messages))


@pytest.fixture(scope="module")
def chatml(tiny_tokenizer) -> ChatTemplate:
    return ChatTemplate.load(tiny_tokenizer)


RECORDS = [
    record(0, "b/two", "Q", "one", "and", "two"),
    record(1, "a/one", "question", "an answer"),
    record(2, "a/one", "nothing", ""),
    record(3, "b/two", "丹炉？", "丹炉！"),
]


def plain_branches(one: Record, tokenizer: Any, template: ChatTemplate):
    """What the definition says, written down without haste: prompt ids and completion ids."""
    branches = []
    messages = [message.as_dict() for message in one.messages]
    for k, message in enumerate(messages):
        if message["role"] == "assistant" and message["content"].strip():
            prompt = tokenizer.apply_chat_template(
                messages[:k], tokenize=False, add_generation_prompt=True
            )
            full = tokenizer.apply_chat_template(messages[: k + 1], tokenize=False)
            end = full.index("<|im_end|>", len(prompt)) + len("<|im_end|>")
            branches.append(
                [
                    tokenizer(text, add_special_tokens=False)["input_ids"]
                    for text in (prompt, full[len(prompt) : end])
                ]
            )
    return branches


def paths(prepared: PreparedData) -> list[list[tuple[list[int], list[float]]]]:
    return [
        [(branch.input_ids.tolist(), branch.weights.tolist()) for branch in prepared.record(r)]
        for r in range(len(prepared))
    ]


def test_by_hand(tiny_tokenizer, chatml):
    """Ids spelt out piece by piece: ChatML's marks are tokens 1 and 2, the rest is looked up."""

    def ids(text: str) -> list[int]:
        return tiny_tokenizer(text, add_special_tokens=False)["input_ids"]

    prepared = prepare(RECORDS, tiny_tokenizer, chatml, SequencesSection())
    first = [1, *ids("user\nQ"), 2, *ids("\n"), 1, *ids("assistant\n")]
    second = [*first, *ids("one"), 2, *ids("\n"), 1, *ids("user\nand"), 2, *ids("\n"), 1]
    second += ids("assistant\n")
    one, two = [*ids("one"), 2], [*ids("two"), 2]
    assert paths(prepared)[0] == [
        (first + one, [0.0] * len(first) + [1.0] * len(one)),
        (second + two, [0.0] * len(second) + [1.0] * len(two)),
    ]
    assert prepared.prompt_tokens.tolist()[:2] == [len(first), len(second)]
    assert prepared.channels == ("a/one", "b/two")
    assert prepared.record_channel.tolist() == [1, 0, 1]
    assert prepared.branch_channel.tolist() == [1, 1, 0, 1]
    assert prepared.branch_record.tolist() == [0, 0, 1, 2]
    assert prepared.branch_index.tolist() == [0, 1, 0, 0]
    assert prepared.record_offsets.tolist() == [0, 2, 3, 4]
    assert prepared.record_position.tolist() == [0, 1, 3]
    assert tuple(prepared.record_ids) == ("r0", "r1", "r3")
    assert (len(prepared), prepared.branches, prepared.records_read) == (3, 4, 4)
    assert prepared.drop_counts() == {"a/one": {"nothing to learn": 1}}
    assert {name: getattr(prepared, name).dtype.name for name in DTYPES} == DTYPES


words = st.sampled_from(["one", " two", "\n", "丹炉", "<|im_", "é", "a question", "🐉", " "])
text = st.lists(words, max_size=4).map("".join)
conversation = st.lists(text, min_size=2, max_size=8).filter(lambda texts: len(texts) % 2 == 0)


@settings(max_examples=60)
@given(conversations=st.lists(conversation, max_size=6), chunk_records=st.integers(1, 4))
def test_equals_the_definition_whatever_the_chunks(
    tiny_tokenizer, chatml, conversations, chunk_records
):
    records = [record(i, f"a/{i % 3}", *texts) for i, texts in enumerate(conversations)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK_RECORDS", chunk_records)
        prepared = prepare(records, tiny_tokenizer, chatml, SequencesSection())
    whole = prepare(records, tiny_tokenizer, chatml, SequencesSection())
    assert prepared.fingerprint == whole.fingerprint
    expected = [plain_branches(one, tiny_tokenizer, chatml) for one in records]
    expected = [branches for branches in expected if branches]
    assert paths(prepared) == [
        [(p + c, [0.0] * len(p) + [1.0] * len(c)) for p, c in branches] for branches in expected
    ]
    assert prepared.channels == tuple(
        sorted({one.task_type for one in records} & set(prepared.channels))
    )
    for r, branches in enumerate(expected):
        own = prepared.record(r)
        assert [branch.prompt_tokens for branch in own] == [len(p) for p, _ in branches]
        assert {branch.record for branch in own} == {r}
        position = int(prepared.record_position[r])
        assert prepared.record_ids[r] == records[position].id
        assert prepared.channels[own[0].channel] == records[position].task_type


def test_training_and_asking_encode_alike(tiny_tokenizer, chatml):
    prepared = prepare(RECORDS, tiny_tokenizer, chatml, SequencesSection())
    branch = prepared.branch(1)
    messages = [message.as_dict() for message in RECORDS[0].messages]
    asked = encode_prompt(tiny_tokenizer, chatml.render(messages[:3], None, True))
    assert branch.input_ids[: branch.prompt_tokens].tolist() == asked
    answered = encode_completion(tiny_tokenizer, "two<|im_end|>")
    assert branch.input_ids[branch.prompt_tokens :].tolist() == answered


def total(prepared: PreparedData, r: int) -> float:
    return float(sum(branch.weights.sum() for branch in prepared.record(r)))


@pytest.mark.parametrize(
    ("weighting", "totals"),
    [("record", [0.75, 1.0, 2.0]), ("turn", [1.5, 1.0, 2.0])],
)
def test_records_or_turns_count_equally(tiny_tokenizer, chatml, weighting, totals):
    """Messages weigh 1 and 0.5, then 1, then 2: a record's sum is their mean, a turn's its own."""
    records = [
        record(0, "a/a", "Q", "a long answer, one two three", "Q", "A", weights=(1.0, 0.5)),
        record(1, "a/a", "Q", "A"),
        record(2, "a/a", "Q", "A", weights=(2.0,)),
    ]
    prepared = prepare(records, tiny_tokenizer, chatml, SequencesSection(weighting=weighting))
    assert [total(prepared, r) for r in range(3)] == pytest.approx(totals)
    if weighting == "turn":
        sums = [float(branch.weights.sum()) for branch in prepared.record(0)]
        assert sums == pytest.approx([1.0, 0.5])


def test_task_types_count_equally_over_the_data_set(tiny_tokenizer, chatml):
    sizes = {"a/short": 1, "b/long": 30, "c/more": 7}
    records = [
        record(i, name, "Q", "one " * size) for i, (name, size) in enumerate(sizes.items())
    ] * 3
    prepared = prepare(records, tiny_tokenizer, chatml, SequencesSection(weighting="task_type"))
    token_channel = np.repeat(prepared.branch_channel, np.diff(prepared.offsets))
    totals = np.bincount(token_channel, weights=prepared.weights)
    trained = prepared.weights[prepared.weights > 0]
    assert totals == pytest.approx([len(trained) / 3] * 3, rel=1e-6)
    assert trained.mean() == pytest.approx(1.0, rel=1e-6)
    # A part is made equal anew: two types are left, one of them with one record.
    part = prepared.subset([0, 1, 3])
    token_channel = np.repeat(part.branch_channel, np.diff(part.offsets))
    totals = np.bincount(token_channel, weights=part.weights, minlength=3)
    assert totals[0] == pytest.approx(totals[1])
    assert part.weights[part.weights > 0].mean() == pytest.approx(1.0)


def test_prompts_are_trained_once(tiny_tokenizer, chatml):
    settings = SequencesSection(train_on_prompt=True)
    one, two = prepare(RECORDS, tiny_tokenizer, chatml, settings).record(0)
    assert one.weights.tolist() == [0.0] + [1.0] * (len(one.input_ids) - 1)
    # The second path begins with all of the first.
    assert two.input_ids[: len(one.input_ids)].tolist() == one.input_ids.tolist()
    new = len(two.input_ids) - len(one.input_ids)
    assert two.weights.tolist() == [0.0] * len(one.input_ids) + [1.0] * new


def test_a_trained_prompt_leaves_an_answer_of_weight_0_out(tiny_tokenizer, chatml):
    records = [record(0, "a/a", "Q", "one", "and", "two", weights=(0.0, 1.0))]
    settings = SequencesSection(train_on_prompt=True)
    one, two = prepare(records, tiny_tokenizer, chatml, settings).record(0)
    answer = len(one.input_ids) - one.prompt_tokens
    assert one.weights.tolist() == [0.0] + [1.0] * (one.prompt_tokens - 1) + [0.0] * answer
    assert not two.weights[: len(one.input_ids)].any()
    assert two.weights[len(one.input_ids) :].all()
    by_turn = SequencesSection(train_on_prompt=True, weighting="turn")
    assert len(prepare(records, tiny_tokenizer, chatml, by_turn).record(0)) == 1


def lengths_of(prepared: PreparedData) -> list[tuple[int, int]]:
    """Prompt and completion tokens of each branch."""
    return [
        (branch.prompt_tokens, len(branch.input_ids) - branch.prompt_tokens)
        for r in range(len(prepared))
        for branch in prepared.record(r)
    ]


OVERLONG = [
    record(0, "a/fits", "Q", "A"),
    record(1, "b/mixed", "Q", "A", "question " * 9, "two"),
    record(2, "c/answer", "Q", "one two three " * 9),
]


@pytest.mark.parametrize(
    ("overlong", "counts", "records"),
    [
        ("drop", {"b/mixed": {"overlong": 1}, "c/answer": {"overlong": 1}}, 2),
        (
            "truncate_prompt_left",
            {"b/mixed": {"prompt truncated": 1}, "c/answer": {"overlong": 1}},
            2,
        ),
        (
            "truncate_completion",
            {"b/mixed": {"overlong": 1}, "c/answer": {"completion truncated": 1}},
            3,
        ),
    ],
)
def test_overlong_branches(tiny_tokenizer, chatml, overlong, counts, records):
    whole = prepare(OVERLONG, tiny_tokenizer, chatml, SequencesSection())
    sizes = lengths_of(whole)  # fits; fits; prompt too long; completion too long
    limit = sum(sizes[1])
    assert sum(sizes[2]) > limit > sizes[2][1]
    assert sizes[2][0] > limit
    assert sizes[3][1] > limit > sizes[3][0]
    short = SequencesSection(max_length=limit, overlong=overlong)
    prepared = prepare(OVERLONG, tiny_tokenizer, chatml, short)
    assert prepared.drop_counts() == counts
    assert len(prepared) == records
    assert prepared.records_read == 3
    assert np.diff(prepared.offsets).max() <= limit
    if overlong == "truncate_prompt_left":
        cut, full = prepared.branch(2), whole.branch(2)
        assert cut.input_ids.tolist() == full.input_ids[-limit:].tolist()
        assert cut.weights.tolist() == full.weights[-limit:].tolist()
        assert cut.prompt_tokens == limit - sizes[2][1]
        assert [drop.kept for drop in prepared.drops] == [True, False]
    if overlong == "truncate_completion":
        cut, full = prepared.branch(2), whole.branch(3)
        assert cut.input_ids.tolist() == full.input_ids[:limit].tolist()
        assert cut.weights.tolist() == full.weights[:limit].tolist()
        assert (cut.prompt_tokens, cut.record, cut.branch) == (sizes[3][0], 2, 0)


def test_overlong_as_an_error(tiny_tokenizer, chatml):
    settings = SequencesSection(max_length=30, overlong="error")
    with pytest.raises(RecordError, match=r"record r1: Branch 1 has .* max_length is 30"):
        prepare(OVERLONG, tiny_tokenizer, chatml, settings)


def test_a_completion_with_nothing_before_it(tokenizer_maker):
    """Prompt and header may be empty; then the first token has nothing to be predicted from."""
    jinja = "{% for m in messages if m.role == 'assistant' %}{{ m.content }}<|im_end|>{% endfor %}"
    tokenizer = tokenizer_maker(jinja)
    template = ChatTemplate.load(tokenizer)
    records = [Record("r", "a/a", (Message("system", ""), Message("assistant", "丹")))]
    branch = prepare(records, tokenizer, template, SequencesSection()).branch(0)
    assert branch.prompt_tokens == 0
    assert branch.weights.tolist() == [0.0] + [1.0] * (len(branch.input_ids) - 1)


def assert_equal(a: PreparedData, b: PreparedData) -> None:
    for field in dataclasses.fields(PreparedData):
        one, other = getattr(a, field.name), getattr(b, field.name)
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, other, strict=True)
        else:
            assert list(one) == list(other) if field.name == "record_ids" else one == other


@pytest.mark.parametrize("weighting", ["token", "task_type"])
def test_mapped_from_a_directory(tiny_tokenizer, chatml, tmp_path, monkeypatch, weighting):
    monkeypatch.setattr(chunks, "CHUNK_RECORDS", 1)
    settings = SequencesSection(weighting=weighting)
    memory = prepare(RECORDS, tiny_tokenizer, chatml, settings)
    place = tmp_path / "prepared" / "train"
    mapped = prepare(iter(RECORDS), tiny_tokenizer, chatml, settings, directory=place)
    assert_equal(memory, mapped)
    assert isinstance(mapped.input_ids.base, np.memmap)
    assert not mapped.input_ids.flags.writeable
    again = prepare(RECORDS[:2], tiny_tokenizer, chatml, settings, directory=place)
    assert len(again) == 2
    assert [path.name for path in place.parent.iterdir()] == ["train"]


def test_no_directory_is_left_when_a_record_is_refused(tiny_tokenizer, chatml, tmp_path):
    with pytest.raises(RecordError):
        prepare(
            [*RECORDS, Record("r", "a/a", ())],
            tiny_tokenizer,
            chatml,
            SequencesSection(),
            directory=tmp_path / "prepared",
        )
    assert list(tmp_path.iterdir()) == []


def test_no_records_at_all(tiny_tokenizer, chatml, tmp_path):
    for directory in (None, tmp_path / "none"):
        prepared = prepare([], tiny_tokenizer, chatml, SequencesSection(), directory=directory)
        assert (len(prepared), prepared.branches, prepared.channels) == (0, 0, ())
        assert prepared.offsets.tolist() == prepared.record_offsets.tolist() == [0]
        assert list(prepared.record_ids) == []


def test_progress_and_a_stream_that_is_read_as_it_goes(tiny_tokenizer, chatml, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_RECORDS", 2)
    read = 0
    seen = []

    def stream():
        nonlocal read
        for i in range(20):
            read += 1
            yield record(i, "a/a", "Q", "A")

    def progress(done: int) -> None:
        seen.append((done, read))

    prepare(stream(), tiny_tokenizer, chatml, SequencesSection(), on_progress=progress)
    assert [done for done, _ in seen] == [*range(2, 21, 2), 20]
    # Never more than two chunks ahead: one with the tokenizer and one being rendered.
    assert all(ahead - done <= 4 for done, ahead in seen)


def test_the_fingerprint_is_that_of_the_content(tiny_tokenizer, chatml, tokenizer_maker):
    def fingerprint(records=RECORDS, template=chatml, **settings):
        return prepare(records, tiny_tokenizer, template, SequencesSection(**settings)).fingerprint

    other = dataclasses.replace(RECORDS[1], task_type="a/other")
    renamed = dataclasses.replace(RECORDS[1], id="other")
    weighed = record(1, "a/one", "question", "an answer", weights=(0.5,))
    assert fingerprint() == fingerprint()
    prints = [
        fingerprint(),
        fingerprint(RECORDS[::-1]),
        fingerprint([RECORDS[0], other, *RECORDS[2:]]),
        fingerprint([RECORDS[0], renamed, *RECORDS[2:]]),
        fingerprint([RECORDS[0], weighed, *RECORDS[2:]]),
        fingerprint(weighting="turn"),
        fingerprint(max_length=2000),
        fingerprint(template=ChatTemplate.load(tiny_tokenizer, "chatml")),
    ]
    assert len(set(prints)) == len(prints)


def test_the_key_is_known_before_anything_is_prepared(tiny_tokenizer, chatml, tokenizer_maker):
    plain = SequencesSection()
    shipped = ChatTemplate.load(tiny_tokenizer, "chatml")
    larger = tokenizer_maker()
    larger.add_tokens(["<x>"])
    keys = [
        preparation_key("data", tiny_tokenizer, chatml, plain),
        preparation_key("other data", tiny_tokenizer, chatml, plain),
        preparation_key("data", tiny_tokenizer, shipped, plain),
        preparation_key("data", larger, chatml, plain),
        preparation_key("data", tiny_tokenizer, chatml, SequencesSection(turns="last")),
    ]
    assert keys[0] == preparation_key("data", tokenizer_maker(), chatml, plain)
    assert len(set(keys)) == len(keys)


def test_a_fault_names_its_record(tiny_tokenizer, chatml):
    bad = Record("bad", "a/a", (Message("user", None), Message("assistant", "A")))
    with pytest.raises(TemplateError, match="record bad: The chat template refuses"):
        prepare([*RECORDS, bad], tiny_tokenizer, chatml, SequencesSection())
