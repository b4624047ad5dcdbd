"""What the tokens of a run show: one planted fault at a time in data written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from danlu.diagnosis.inputs import Inputs
from danlu.diagnosis.probe import CannotLookError, Examined
from danlu.runs import Resolved, RunDirectory
from danlu.runs.findings import Finding
from danlu.runs.schema import Environment
from danlu.sequences.prepared import PreparedData
from danlu.sequences.storage import Strings

STOP = 2
Turn = tuple[list[int], list[int]]
"""A prompt and an answer, as tokens."""


def sound(count: int = 20) -> list[Turn]:
    return [([5, 10 + k, 6], [40 + k, 41 + k, STOP]) for k in range(count)]


def prepared(turns: list[Turn], *, trained_prompts: bool = False) -> PreparedData:
    """One branch a record, the completion trained."""
    lengths = [len(prompt) + len(answer) for prompt, answer in turns]
    weights = [
        one
        for prompt, answer in turns
        for one in ([0.0] + [float(trained_prompts)] * (len(prompt) - 1) + [1.0] * len(answer))
    ]
    count = len(turns)
    ids = Strings.of(f"记录{k}" for k in range(count))
    columns = {
        "input_ids": np.array([i for turn in turns for part in turn for i in part], np.int32),
        "weights": np.array(weights, np.float32),
        "offsets": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        "branch_record": np.arange(count, dtype=np.int32),
        "branch_channel": np.zeros(count, np.int32),
        "branch_index": np.zeros(count, np.int32),
        "prompt_tokens": np.array([len(prompt) for prompt, _ in turns], np.int32),
        "branch_rank": np.zeros(count, np.int32),
        "branch_score": np.full(count, np.nan, np.float32),
        "branch_label": np.zeros(count, np.int8),
        "record_offsets": np.arange(count + 1, dtype=np.int64),
        "record_channel": np.zeros(count, np.int32),
        "record_position": np.arange(count, dtype=np.int64),
        "record_ids_text": ids.text,
        "record_ids_offsets": ids.offsets,
    }
    about = {"drops": (), "records_read": count, "weighting": "token", "fingerprint": "x"}
    return PreparedData.of_columns(columns, channels=("地理/首都",), **about)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    with RunDirectory.create(tmp_path / "run") as directory:
        directory.adapter_path.mkdir()
        stops = {"eos_token_id": [STOP]}
        (directory.adapter_path / "generation_config.json").write_text(json.dumps(stops))
    return directory


def found(run: RunDirectory, data: PreparedData, **recipe: object) -> list[Finding]:
    data.save(run.path / "prepared" / "train")
    environment = Environment(versions={}, platform="Linux", cpu_count=2)
    train = {"train": [{"path": "my data.jsonl"}]}
    run.write_resolved(Resolved(recipe={"data": train, **recipe}, environment=environment))
    return list(Inputs().look(Examined(run)).findings)


def test_sound_data_has_no_finding(run):
    assert found(run, prepared(sound())) == []


def test_answers_without_a_stop_token_are_named(run):
    turns = sound()
    turns[3] = (turns[3][0], turns[3][1][:-1])
    [one] = found(run, prepared(turns))
    assert (one.name, one.severity, one.confidence) == ("no-stop-token", "warning", "high")
    assert one.evidence[0].records == ("记录3",)
    [whole] = found(run, prepared([(prompt, answer[:-1]) for prompt, answer in sound()]))
    assert whole.severity == "serious"


def test_a_stop_token_without_weight_is_not_learned(run):
    data = prepared(sound())
    data.weights[data.offsets[1:] - 1] = 0
    [one] = found(run, data)
    assert one.evidence[0].figures["share"] == 1.0


def test_without_a_saved_model_the_common_end_is_the_stop_token(run):
    (run.adapter_path / "generation_config.json").unlink()
    assert found(run, prepared(sound())) == []
    endless = [(prompt, answer[:-1]) for prompt, answer in sound()]
    assert [one.name for one in found(run, prepared(endless))] == ["no-stop-token"]


def test_trained_prompts_are_told_with_their_share(run):
    data = prepared(sound(), trained_prompts=True)
    [one] = found(run, data)
    assert (one.name, one.severity) == ("prompt-trained", "serious")
    assert one.evidence[0].figures["share"] == pytest.approx(2 / 5)
    assert one.evidence[0].command == "danlu explain 'my data.jsonl'"
    [asked] = found(run, data, sequences={"train_on_prompt": True})
    assert asked.severity == "warning"


def test_copies_are_counted_and_named(run):
    [one] = found(run, prepared([*sound(10), *sound(5)]))
    assert (one.name, one.severity) == ("duplicates", "serious")
    assert one.evidence[0].figures == {"copies": 5, "share": 1 / 3, "most": 2}
    assert set(one.evidence[0].records) == {f"记录{k}" for k in range(10, 15)}


def test_prompts_with_several_answers_are_a_note(run):
    turns = [*sound(10), *((prompt, [90, STOP]) for prompt, _ in sound(3))]
    [one] = found(run, prepared(turns))
    assert (one.name, one.severity) == ("several-answers", "note")
    assert one.evidence[0].figures == {"records": 6, "prompts": 3}


def test_it_says_why_it_cannot_look(run):
    with pytest.raises(CannotLookError, match="gone"):
        Inputs().look(Examined(run))
    with pytest.raises(CannotLookError, match="dpo"):
        found(run, prepared(sound()), objective={"name": "dpo"})


def test_documents_have_no_answers_to_end(run):
    endless = [([], [7, 8, 9 + k]) for k in range(12)]
    assert found(run, prepared(endless), sequences={"documents": True}) == []
