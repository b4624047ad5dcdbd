"""Perplexity by hand, and the card that says it."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from danlu.errors import ModelError
from danlu.evaluation.plain_text import shipped_text as documents_of_the_suite
from danlu.runs.directory import RunDirectory
from danlu.runs.schema import Environment, MetricsRow, Resolved
from danlu.serving.model_card import EvaluationTable, FormatRow, OwnFigures, model_card
from danlu.serving.perplexity import shipped_text, text_perplexity


class _Halves:
    """Gives the token after the one it sees probability 1/2, all others the rest evenly."""

    def __init__(self, positions: int) -> None:
        self.config = SimpleNamespace(max_position_embeddings=positions)

    def __call__(self, input_ids: torch.Tensor) -> Any:
        following = (input_ids + 1) % 5
        chances = torch.full((*input_ids.shape, 5), 0.125)
        return SimpleNamespace(logits=chances.scatter(2, following[..., None], 0.5).log())


def _tokenizer(text: str, **_: Any) -> dict[str, list[int]]:
    return {"input_ids": [int(one) for one in text]}


@pytest.mark.parametrize(
    ("text", "positions", "expected"),
    [
        ("01234", 9, 2.0),  # every prediction has 1/2
        ("0120", 9, math.exp((2 * math.log(2) + math.log(8)) / 3)),  # the last has 1/8
        ("0120", 2, 2 ** ((1 + 3) / 2)),  # windows 01 and 20: 1/2 and 1/8
    ],
)
def test_perplexity_by_hand(text: str, positions: int, expected: float) -> None:
    found = text_perplexity(_Halves(positions), _tokenizer, text)  # type: ignore[arg-type]
    assert found == pytest.approx(expected, rel=1e-5)


def test_text_too_short_is_told() -> None:
    with pytest.raises(ModelError, match="two tokens"):
        text_perplexity(_Halves(9), _tokenizer, "1")  # type: ignore[arg-type]


def test_the_shipped_text_is_that_of_the_suite() -> None:
    documents = documents_of_the_suite()
    assert shipped_text().split("\n\n") == documents[:8] + documents[28:36]


def test_the_card_says_what_the_run_says(tmp_path: Path) -> None:
    with RunDirectory.create(tmp_path / "丹炉") as run:
        run.write_resolved(
            Resolved(
                recipe={
                    "model": {"path": "some/base"},
                    "data": {"train": [{"path": "/somewhere/mine.jsonl"}]},
                    "tuning": {"method": "lora", "lora_rank": 16},
                    "training": {"learning_rate": 0.0004, "max_steps": None},
                },
                environment=Environment(versions={"danlu": "9"}, platform="x", cpu_count=1),
                records={"chat/a|b": 3},
            )
        )
        for step, loss in ((1, 2.0), (2, 1.0)):
            run.append_metrics(MetricsRow(step=step, epoch=0.5, loss=loss, supervised_tokens=4))
    files = [FormatRow("m-Q8_0.gguf", 1_500_000, 32, 31, 0.02, 0.25, 11.0, 0.375)]
    table = EvaluationTable("mine: core", 0.5, (("chat/a", "8", 0.5, None, 0.75),))
    card = model_card(
        "丹炉",
        run.path / "adapter",
        kind="gguf",
        files=files,
        own=OwnFigures(10.0, "core", 0.5),
        evaluations=[table],
    )
    head = yaml.safe_load(card.split("---")[1])
    assert head["base_model"] == "some/base"
    assert head["license"] == "other"
    assert "TODO: the licence" in card
    assert "# 丹炉\n" in card
    assert r"| chat/a\|b | 3 | 0 |" in card
    assert "| lora_rank | 16 |" in card
    assert "max_steps" not in card
    assert "/somewhere" not in card
    assert "### mine: core\n" in card
    assert "| chat/a | 8 | 0.500 |  | 0.750 |" in card
    assert "| all | 2.000 | 1.000 |  |  |" in card
    assert (
        "| m-Q8_0.gguf | 1.5 | 31 of 32 | 0.0200; 0.250 | 11.000 (+10.00%) | 0.375 (-0.125) |"
        in card
    )
    assert "Score of the model itself on core: 0.500" in card


def test_a_known_licence_is_named() -> None:
    card = model_card("m", None, base="builtin:smollm2-135m-instruct")
    assert yaml.safe_load(card.split("---")[1])["license"] == "apache-2.0"
    assert "TODO" not in card


def test_only_finished_evaluations_of_the_run_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from danlu.cli.export import _evaluations

    kind = SimpleNamespace(items=9, scored=8, score=0.5, low=0.25, high=0.75)
    summary = SimpleNamespace(suite="core", score=0.5, task_types={"chat/a": kind})

    def made(name: str, run: str | None, finished: bool = True) -> Any:
        asked = SimpleNamespace(model=SimpleNamespace(run=run))
        return SimpleNamespace(
            name=name, evaluation=lambda: asked, summary=lambda: summary if finished else None
        )

    run = tmp_path / "run"
    found = [
        made("mine", str(run)),
        made("other", str(tmp_path / "other")),
        made("half", str(run), finished=False),
        made("endpoint", None),
    ]
    monkeypatch.setattr("danlu.evaluation.directory.find_evaluations", lambda folder: found)
    assert _evaluations(run, tmp_path) == [
        EvaluationTable("mine: core", 0.5, (("chat/a", "8 of 9", 0.5, 0.25, 0.75),))
    ]
