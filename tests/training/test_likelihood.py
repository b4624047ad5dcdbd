"""Losses of answers over the forest are those of plain rows, and are computed once."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from danlu.cli.main import run as command
from danlu.config.recipe import SequencesSection
from danlu.records import Message, Record
from danlu.sequences import ChatTemplate, encode_completion, encode_prompt
from danlu.training.likelihood import Judge, Likelihood, likelihoods
from danlu.training.loss_cache import Loss, LossCache
from danlu.workshop.operations.given import Scores
from tests.tiny_models import tiny_llama
from tests.training.conftest import write_data

SETTINGS = SequencesSection(max_length=200)
SYSTEM = Message("system", "You are the furnace of a hundred words, hot and red.")
HEADER = "<|im_start|>assistant\n"


def said(id_: str, *texts: str, task_type: str = "a/b", system: bool = True) -> Record:
    messages = [
        Message("assistant" if number % 2 else "user", text) for number, text in enumerate(texts)
    ]
    return Record(id_, task_type, tuple([SYSTEM] * system + messages))


RECORDS = [
    said("one", "What is hot?", "The iron."),
    said("two", "What is hot?", "The furnace is hot."),
    said("turns", "你叫什么名字？", "我叫丹炉。", "And in English?", "Danlu", "好", "?"),
    said("plain", "one two", "three four", system=False),
]


def a_judge(tokenizer, **settings) -> Judge:
    template = ChatTemplate.load(tokenizer)
    return Judge.of(tiny_llama(seed=settings.pop("seed", 5)), tokenizer, template, 64, **settings)


@pytest.fixture(scope="module")
def judge(tiny_tokenizer):
    return a_judge(tiny_tokenizer)


@torch.no_grad()
def row_loss(prompt: str, answer: str, tokenizer) -> tuple[float, int]:
    """The loss of one answer by a plain call of the model, with its own attention."""
    model = tiny_llama(seed=5)
    ids = encode_prompt(tokenizer, prompt)
    rest = encode_completion(tokenizer, f"{answer}<|im_end|>")
    logprobs = model(input_ids=torch.tensor([ids + rest])).logits[0].double().log_softmax(-1)
    nats = -sum(logprobs[len(ids) + k - 1, token].item() for k, token in enumerate(rest))
    return nats, len(rest)


def by_rows(record: Record, tokenizer) -> Likelihood:
    sums = [[0.0, 0], [0.0, 0]]
    for k, message in enumerate(record.messages):
        if message.role == "assistant":
            before = [one.as_dict() for one in record.messages[:k]]
            prompt = ChatTemplate.load(tokenizer).render(before, add_generation_prompt=True)
            for total, text in zip(sums, (prompt, HEADER), strict=True):
                nats, tokens = row_loss(text, str(message.content), tokenizer)
                total[0] += nats
                total[1] += tokens
    return Likelihood(record.id, record.task_type, *(Loss(*one) for one in sums))


def test_as_plain_rows(judge, tiny_tokenizer) -> None:
    assert judge.packing.forest
    found = list(likelihoods(judge, RECORDS, SETTINGS))
    for one, record in zip(found, RECORDS, strict=True):
        plain = by_rows(record, tiny_tokenizer)
        assert one.id == plain.id
        assert one.given.tokens == one.alone.tokens == plain.given.tokens
        assert one.given.nats == pytest.approx(plain.given.nats, rel=1e-4)
        assert one.alone.nats == pytest.approx(plain.alone.nats, rel=1e-4)
        assert one.perplexity == pytest.approx(
            math.exp(plain.given.nats / plain.given.tokens), 1e-3
        )
        assert one.ifd == pytest.approx(plain.given.nats / plain.alone.nats, rel=1e-3)
    assert len({round(one.ifd, 6) for one in found}) == len(RECORDS)


def test_padded_rows_say_the_same(judge, tiny_tokenizer) -> None:
    rows = a_judge(tiny_tokenizer, forest=False)
    assert not rows.packing.forest
    for one, other in zip(
        likelihoods(judge, RECORDS, SETTINGS), likelihoods(rows, RECORDS, SETTINGS), strict=True
    ):
        assert one.given.nats == pytest.approx(other.given.nats, rel=1e-4)
        assert one.alone.nats == pytest.approx(other.alone.nats, rel=1e-4)


def test_what_has_no_loss_says_why(judge) -> None:
    asked = Record("asked", "a/b", (Message("user", "Hi"),))
    text = Record("text", "a/b", (Message("text", "The iron is red."),))
    long = said("long", "x" * 400, "y")
    muted = Record("muted", "a/b", (Message("user", "Hi"), Message("assistant", "x", weight=0)))
    tools = Record("tools", "a/b", RECORDS[0].messages, tools=({"type": "function"},))
    several = [asked, text, long, tools, muted, RECORDS[0]]
    found = {one.id: one for one in likelihoods(judge, several, SETTINGS)}
    assert "declares 1 tools" in found["tools"].reason
    given, alone = found["one"].given, next(likelihoods(judge, RECORDS[:1], SETTINGS)).given
    assert given is not None
    assert alone is not None
    assert given.tokens == alone.tokens
    # Beside other records, a product of matrices rounds otherwise.
    assert given.nats == pytest.approx(alone.nats, rel=1e-5)
    assert found["asked"].reason == "no assistant turn"
    assert "max_length is 200" in found["long"].reason
    assert "weight 0" in found["muted"].reason
    assert found["text"].perplexity > 1
    assert found["text"].ifd is None


def test_weights_of_messages_do_not_matter(judge) -> None:
    light = Record("x", "a/b", (*RECORDS[0].messages[:2], Message("assistant", "The iron.", 0.1)))
    [one, other] = likelihoods(judge, [RECORDS[0], light], SETTINGS)
    assert one.given == other.given


def test_what_is_known_is_not_computed_again(
    judge, tiny_tokenizer, tmp_path: Path, monkeypatch
) -> None:
    packs = []
    compute = Judge._pack
    monkeypatch.setattr(
        Judge, "_pack", lambda self, pack: (packs.append(pack), compute(self, pack))[1]
    )
    with LossCache(tmp_path / "losses.sqlite") as cache:
        first = list(likelihoods(judge, RECORDS[:3], SETTINGS, cache=cache))
        before = len(packs)
        assert before > 1
        # Under another id, with another record beside it.
        again = [Record(f"{one.id}-2", "c/d", one.messages) for one in RECORDS[:3]]
        found = list(likelihoods(judge, [*again, RECORDS[3]], SETTINGS, cache=cache))
        assert [one.given for one in found[:3]] == [one.given for one in first]
        assert len(packs) == before + 1
        # A model with other weights knows nothing of it.
        another = a_judge(tiny_tokenizer, seed=6)
        other = list(likelihoods(another, RECORDS[:3], SETTINGS, cache=cache))
        assert len(packs) == 2 * before + 1
        assert other[0].given != first[0].given


def test_a_stopped_command_goes_on(judge, tmp_path: Path, monkeypatch) -> None:
    compute, left = Judge._pack, [2]

    def stops(self, pack):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return compute(self, pack)

    monkeypatch.setattr(Judge, "_pack", stops)
    with LossCache(tmp_path / "losses.sqlite") as cache:
        with pytest.raises(KeyboardInterrupt):
            list(likelihoods(judge, RECORDS, SETTINGS, cache=cache))
        kept = cache._file.execute("SELECT count(*) FROM losses").fetchone()[0]
        assert 0 < kept < 12
        left[0] = 99
        whole = list(likelihoods(judge, RECORDS, SETTINGS, cache=cache))
        used = 99 - left[0]
        monkeypatch.setattr(Judge, "_pack", compute)
        fresh = list(likelihoods(judge, RECORDS, SETTINGS))
        for one, other in zip(whole, fresh, strict=True):
            assert one.given.nats == pytest.approx(other.given.nats, rel=1e-5)
        assert used < 12


def test_progress_ends_at_the_last_record(judge) -> None:
    told: list[int] = []
    list(likelihoods(judge, RECORDS, SETTINGS, told=told.append))
    assert told == sorted(told)
    assert told[-1] == len(RECORDS)


def test_from_the_command_line_to_a_selection(
    tiny_folder: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DANLU_DATASETS", raising=False)
    write_data(tmp_path / "mine.jsonl")
    words = ["data", "score", "mine.jsonl", "-m", str(tiny_folder), "-o", "s/scores.jsonl"]
    assert command([*words, "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert "ifd (quartiles)" in out
    assert "14 of 14 records scored: s/scores.jsonl" in err
    rows = [json.loads(line) for line in Path("s/scores.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [f"r{number}" for number in range(14)]
    assert set(rows[0]) == {"id", "task_type", "perplexity", "ifd", "loss", "tokens"}
    options = ["--share", "0.5", "--scores", "s/scores.jsonl", "-n", "hard"]
    assert command(["data", "select", "mine.jsonl", "--by", "difficulty", *options]) == 0
    assert Scores.load("s/scores.jsonl", "ifd").by_id["r3"] == rows[3]["ifd"]
    lines = Path("s/scores.jsonl").read_text().splitlines(keepends=True)
    Path("few.jsonl").write_text("".join(lines[:9]))
    options[3] = "few.jsonl"
    assert command(["data", "select", "mine.jsonl", "--by", "quality", *options]) == 2
    assert "5 records have no score" in capsys.readouterr().err
    choice = ["--by", "quality", "--unscored", "keep", "--json"]
    assert command(["data", "select", "mine.jsonl", *choice, *options]) == 0
    rules = json.loads(capsys.readouterr().out)["rules"]
    counts = {(one["fate"], one["rule"]): one["count"] for one in rules}
    assert counts["kept", "no score"] == 5
    assert counts["kept", "quality"] + counts["dropped", "quality"] == 9
    capsys.readouterr()
    assert command([*words, "--device", "cpu", "--scores", "perplexity", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["task_type"] for row in told["task_types"]] == [
        "say/long",
        "say/short",
        "talk/turns",
    ]
    assert told["without_score"] == {}
    assert command([*words, "--scores", "ppl"]) == 2
    assert "no score 'ppl'" in capsys.readouterr().err
