"""Plain text for the gate: read, cut, and predicted by two versions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from danlu.errors import EvaluationError
from danlu.evaluation.likelihood.forest import LikelihoodModel
from danlu.evaluation.plain_text import (
    LONGEST_CHARACTERS,
    SHIPPED,
    read_text,
    score_text,
    shipped_text,
)
from danlu.evaluation.schema import Item
from danlu.evaluation.suites import load_suite
from danlu.generation.local import TransformersGenerator
from danlu.sequences.template import ChatTemplate
from tests.tiny_models import tiny_llama


def texts_of(item: Item) -> set[str]:
    return {str(message["content"]) for message in item.messages}


def test_what_ships_is_of_both_languages_and_each_once() -> None:
    documents = shipped_text()
    assert len(documents) == len(set(documents)) == 56
    chinese = [one for one in documents if any("一" <= char <= "鿿" for char in one)]
    assert len(chinese) == 28
    assert all(100 < len(one.encode()) < 1000 for one in documents)
    suite = load_suite("plain-text")  # the same documents, as `danlu eval plain-text` reads them
    assert {name: of.scorer for name, of in suite.task_types.items()} == {
        "text/en": "perplexity",
        "text/zh": "perplexity",
    }
    assert {item.task_type for item in suite.items if texts_of(item) & set(chinese)} == {"text/zh"}


def test_two_versions_predict_the_same_documents(tiny_tokenizer: Any) -> None:
    """Bits of the first, from plain logits by hand; the second is another model."""
    documents = ["The furnace is hot.", "丹炉是炼丹的炉子。"]
    template = ChatTemplate.load(tiny_tokenizer)
    models = [tiny_llama(seed=seed) for seed in (0, 1)]
    told: list[tuple[str, int, int]] = []
    found = score_text(
        documents,
        [
            lambda one=one: LikelihoodModel(TransformersGenerator(one, tiny_tokenizer, template))
            for one in models
        ],
        progress=lambda *given: told.append(given),
    )
    assert (found.source, found.size_bytes) == (SHIPPED, [len(one.encode()) for one in documents])
    assert told == [("A", 1, 2), ("A", 2, 2), ("B", 1, 2), ("B", 2, 2)]
    for place, document in enumerate(documents):
        ids = tiny_tokenizer(document, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = models[0](input_ids=torch.tensor([ids])).logits[0].double()
        nll = torch.nn.functional.cross_entropy(
            logits[:-1], torch.tensor(ids[1:]), reduction="sum"
        ).item()
        assert found.bits_a[place] == pytest.approx(nll / math.log(2), rel=1e-5)
        assert found.bits_b[place] != pytest.approx(found.bits_a[place], rel=1e-3)


def test_files_of_text_and_of_records(tmp_path: Path) -> None:
    text = tmp_path / "own.txt"
    text.write_text("第一段。\n第二行。\n\n\n第二段。\n", "utf-8")
    assert read_text(text) == ["第一段。\n第二行。", "第二段。"]
    records = tmp_path / "own.jsonl"
    records.write_text('{"text": "One."}\n{"text": "Two."}\n', "utf-8")
    assert read_text(records) == ["One.", "Two."]
    text.write_text("只有一段。", "utf-8")
    with pytest.raises(EvaluationError, match="fewer than two documents"):
        read_text(text)
    with pytest.raises(EvaluationError, match="no such file"):
        read_text(tmp_path / "none.txt")


def test_a_long_document_is_cut_where_a_reader_pauses(tmp_path: Path) -> None:
    sentence = "炉火正旺。" * 30 + "\n"
    text = sentence * (LONGEST_CHARACTERS // 50)
    place = tmp_path / "long.txt"
    place.write_text(text, "utf-8")
    parts = read_text(place)
    assert "".join(parts) == text.strip()
    assert all(len(one) <= LONGEST_CHARACTERS for one in parts)
    assert all(one.endswith("\n") for one in parts[:-1])
