"""``danlu explain`` from file to text, on a folder that holds a tokenizer and no weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from danlu.cli.main import run

RECORDS = [
    {
        "id": "one",
        "task_type": "furnace/name",
        "messages": [
            {"role": "user", "content": "What is the name?"},
            {"role": "assistant", "content": "丹炉"},
            {"role": "user", "content": "And you?"},
            {"role": "assistant", "content": "The furnace."},
        ],
    },
    {
        "id": "two",
        "task_type": "furnace/heat",
        "messages": [
            {"role": "user", "content": "Is it hot?"},
            {"role": "assistant", "content": "The iron is red and the furnace is hot."},
        ],
    },
]


@pytest.fixture
def places(tmp_path: Path, tiny_tokenizer: Any) -> list[str]:
    """The arguments that name the data and the tokenizer."""
    tiny_tokenizer.save_pretrained(tmp_path / "tokenizer")
    data = tmp_path / "my.jsonl"
    data.write_text("\n".join(json.dumps(record) for record in RECORDS), encoding="utf-8")
    return [str(data), "--model", str(tmp_path / "tokenizer")]


def test_json(places: list[str], tiny_tokenizer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", *places, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["record"], row["branch"]) for row in rows] == [("one", 0), ("one", 1), ("two", 0)]
    for row in rows:
        assert len(row["weights"]) == len(row["input_ids"])
        prompt = tiny_tokenizer.encode(row["prompt_text"], add_special_tokens=False)
        completion = tiny_tokenizer.encode(row["completion_text"], add_special_tokens=False)
        assert row["input_ids"] == prompt + completion
        assert row["weights"] == [0.0] * len(prompt) + [1.0] * len(completion)
    assert rows[1]["completion_text"] == "The furnace.<|im_end|>"
    assert rows[1]["prompt_text"].startswith(rows[0]["prompt_text"])


def test_terminal(places: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", *places, "--no-color"]) == 0
    out = capsys.readouterr().out
    assert "⟦丹炉<|im_end|>⟧" in out
    assert "furnace/heat" in out


def test_what_is_dropped_is_told(places: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", *places, "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    longest = max(len(json.loads(line)["input_ids"]) for line in lines)
    assert run(["explain", *places, "--json", f"sequences.max_length={longest - 1}"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == len(lines) - 1
    assert "furnace/name: 1 overlong\n  one, branch 1: overlong: " in err
    assert f"max_length is {longest - 1}" in err


def test_settings_and_template_reach_the_branches(
    places: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--template", "human_assistant", "--record", "one", "--json"]
    assert run(["explain", *places, *arguments, "sequences.turns=last"]) == 0
    [row] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert row["prompt_text"].endswith("\n\nAssistant:")
    assert "丹炉" in row["prompt_text"]
    assert row["completion_text"].strip().startswith("The furnace.")
