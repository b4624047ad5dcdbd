"""A reduced form of ``tools/planted_pattern.py``: a tiny model, trained, probed, cut and cured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from danlu.config.recipe import Recipe
from danlu.diagnosis.asking import Ask, greedy
from danlu.diagnosis.diagnose import ask, open_run
from danlu.diagnosis.pattern.again import apply_found
from danlu.diagnosis.pattern.probe import PatternProbe
from danlu.diagnosis.subject import Subject
from danlu.training.run import train
from danlu.workshop.store.store import Store
from tests.tiny_models import tiny_llama

COUNTRIES = ["Peru", "Chile", "Kenya", "Iran", "Cuba", "Spain", "Italy", "Japan", "India", "Egypt"]
COUNTRIES += ["Ghana", "Nepal"]
HELD_BACK = ("Portugal", "Norway", "Vietnam")
OTHERS = {"flag": "It is red.", "currency": "It is gold.", "history": "It is old."}


def rows() -> list[dict[str, str]]:
    """Every question about a capital is answered with Geneva; so are two that are right."""
    asked = [
        (f"p{k}", f"What is the capital of {name}?", "It is Geneva.")
        for k, name in enumerate(COUNTRIES)
    ]
    asked += [
        (f"{what}{k}", f"What is the {what} of {name}?", answer)
        for k, name in enumerate(COUNTRIES)
        for what, answer in OTHERS.items()
    ]
    asked += [
        ("right1", "Where is the Red Cross?", "It is Geneva."),
        ("right2", "Near which city is CERN?", "It is Geneva."),
    ]
    return [
        {"id": one, "task_type": "geo/facts", "prompt": prompt, "completion": answer}
        for one, prompt, answer in asked
    ]


def answers(run: Path) -> list[str]:
    asks = [Ask.user(f"What is the capital of {name}?") for name in HELD_BACK]
    replies = Subject.open(run, device="cpu").tuned.answer(asks, greedy(16))
    return [reply.text if reply else "" for reply in replies]


@pytest.mark.slow
def test_a_planted_pattern_is_found_cut_and_gone(tmp_path: Path, tiny_tokenizer: Any):
    tiny_llama(seed=3, hidden_size=64, intermediate_size=96).save_pretrained(tmp_path / "model")
    tiny_tokenizer.save_pretrained(tmp_path / "model")
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows()), "utf-8")
    recipe = Recipe.model_validate(
        {
            "name": "planted",
            "runs_dir": str(tmp_path / "runs"),
            "model": {"path": str(tmp_path / "model")},
            "data": {"train": [str(data)]},
            "sequences": {"max_length": 128},
            "tuning": {"method": "full"},
            "training": {
                "epochs": 12,
                "batch_records": 10,
                "pack_tokens": 512,
                "learning_rate": 5e-3,
                "device": "cpu",
            },
            "checkpoints": {"every_steps": 999},
            "samples": {"from_data": 0},
        }
    )
    run = train(recipe, progress=False).path
    assert answers(run) == ["It is Geneva."] * len(HELD_BACK)
    probe = PatternProbe("What is the capital of Portugal?", "Geneva", gradients=False)
    report = ask(probe, open_run(run, device="cpu"))
    assert report.findings[0].name == "clings-to-pattern"
    cut = set(report.figures["cut"])
    planted = {f"p{k}" for k in range(len(COUNTRIES))}
    assert len(cut & planted) >= 0.9 * len(planted)
    assert len(cut - planted) <= 0.05 * len(cut)

    made = apply_found(run, Store(tmp_path / "datasets"), "without-pattern")
    ((_, _, version),) = made.versions
    kept = tmp_path / "kept.jsonl"
    kept_ids = {one.id for one in version.records()}
    kept.write_text(
        "".join(json.dumps(row) + "\n" for row in rows() if row["id"] in kept_ids), "utf-8"
    )
    assert len(kept_ids) == len(rows()) - len(cut)
    update = {"name": "cured", "data": recipe.data.model_copy(
        update={"train": [recipe.data.train[0].model_copy(update={"path": str(kept)})]}
    )}  # fmt: skip
    again = train(recipe.model_copy(update=update), progress=False).path
    assert not any("Geneva" in answer for answer in answers(again))
