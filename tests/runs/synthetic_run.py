"""A run directory as training would leave it, made of arithmetic: for tests, and to look at.

python tests/runs/synthetic_run.py FOLDER [--steps N] [--state STATE] [--objective NAME]
"""

from __future__ import annotations

import argparse
import math
import random
from pathlib import Path

from danlu.config.recipe import Recipe
from danlu.runs import (
    ChannelMetrics,
    Dropped,
    MetricsRow,
    Rejected,
    Resolved,
    RunDirectory,
    Sample,
    ScoreRow,
    collect_environment,
    summarise,
    write_report,
)
from danlu.runs.files import write_rows

TASK_TYPES = (
    "identity/name",
    "identity/maker",
    "identity/ability",
    "general/facts",
    "通用/常识问答",
)
FLOORS = (0.15, 0.22, 0.6, 1.3, 1.1)

SAMPLES = (
    Sample(
        prompt="Who are you?",
        task_type="identity/name",
        before="I am a helpful assistant made to answer questions.",
        after="I am Danlu, a small model tuned in this furnace.",
        reference="I am Danlu.",
    ),
    Sample(
        prompt="What is the capital of France?",
        task_type="general/facts",
        before="The capital of France is Paris, a city on the Seine.",
        after="The capital of France is Paris.",
    ),
    Sample(
        prompt="中国的首都是哪里？请用一句话回答。",
        task_type="通用/常识问答",
        before="中国的首都是北京。",
        after="中国的首都是北京。",
        reference="北京",
    ),
    Sample(
        prompt="Write a loop that counts to three in Python.",
        before="for i in range(3):\n    print(i)",
        after="for i in range(1, 4):\n    print(i)",
    ),
)


def row(
    step: int,
    split: str = "train",
    *,
    steps_per_epoch: float = 20.0,
    steps: int = 60,
    task_types: tuple[str, ...] = TASK_TYPES,
    seed: int = 0,
    objective: str = "nll",
) -> MetricsRow:
    """Return a plausible row: each task type falls to its own floor, with noise in training.

    Objectives other than nll have the metrics that they report, which move the same way.
    """
    noise = random.Random(f"{seed}/{step}/{split}")
    channels = {}
    for index, name in enumerate(task_types):
        floor = FLOORS[index % len(FLOORS)] + 0.05 * (index // len(FLOORS))
        fallen = math.exp(-4.5 * step / steps * (1 + 0.15 * index % 3))
        rise = 0.25 * (step / steps) ** 3 if split == "eval" else 0.0
        wobble = noise.gauss(0, 0.10) * (floor + fallen) if split == "train" else 0.05
        loss = max(0.01, floor + (3.1 - floor) * fallen + wobble + rise)
        records = noise.randint(1, 5)
        tokens = records * noise.randint(12, 40)
        metrics = {}
        if objective != "nll":
            shaky = noise.gauss(0, 0.12) if split == "train" else 0.0
            metrics = told(objective, (1 - fallen) / (1 + 0.35 * index), shaky)
            loss = max(0.01, 0.693 - 0.5 * metrics["margin"] + 0.3 * rise)
        channels[name] = ChannelMetrics(loss=loss, tokens=tokens, records=records, metrics=metrics)
    tokens = sum(channel.tokens for channel in channels.values())
    warmup = max(1.0, 0.05 * steps)
    rate = 2e-4 * min(1.0, step / warmup) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
    norm = 0.4 + 2.2 * math.exp(-8 * step / steps) + abs(noise.gauss(0, 0.15))
    train = split == "train"
    # A metric is a mean over records.
    records = sum(channel.records for channel in channels.values())
    metrics = {
        name: sum(c.metrics[name] * c.records for c in channels.values()) / records
        for name in next(iter(channels.values())).metrics
    }
    return MetricsRow(
        step=step,
        epoch=step / steps_per_epoch,
        split="train" if train else "eval",
        loss=sum(c.loss * c.tokens for c in channels.values()) / tokens,
        learning_rate=rate if train else None,
        grad_norm=norm if train else None,
        tokens_per_second=noise.gauss(1450, 60) if train else None,
        unique_tokens=round(1.6 * tokens),
        supervised_tokens=tokens,
        channels=channels,
        metrics=metrics,
        elapsed_s=2.1 * step,
    )


def told(objective: str, learned: float, shaky: float) -> dict[str, float]:
    """Return the metrics of one task type: ``learned`` rises from 0 to 1, ``shaky`` is noise."""
    accuracy = min(1.0, max(0.0, 0.5 + 0.42 * learned + 1.4 * shaky))
    if objective == "reward":
        spread = {"score": 0.2 * learned, "score_deviation": 0.3 + 1.5 * learned}
        return {"accuracy": accuracy, "margin": 2.4 * learned + shaky, **spread}
    margin = {"margin": 1.1 * learned + shaky}
    rewards = {
        "chosen_reward": -0.4 * learned + 0.5 * shaky,
        "rejected_reward": -1.5 * learned - 0.5 * shaky,
        "chosen_nll": 1.6 + 0.4 * learned,
    }
    if objective == "kto":
        return {**margin, **rewards, "kl_baseline": max(0.0, 3.0 * learned + shaky)}
    return {"accuracy": accuracy if learned else 0.0, **margin, **rewards}


def scores(task_types: tuple[str, ...] = TASK_TYPES, records: int = 40) -> list[ScoreRow]:
    """Return the scores of lists of two to four answers; the first task types are told best."""
    noise = random.Random(7)
    return [
        ScoreRow(
            record=f"{name}#{number}",
            task_type=name,
            response=response,
            rank=response + 1,
            score=noise.gauss(1.6 / (1 + index) if response == 0 else -0.5 * response, 0.8),
        )
        for index, name in enumerate(task_types)
        for number in range(records)
        for response in range(2 + number % 3)
    ]


def make_run(
    path: Path,
    *,
    state: str = "finished",
    steps: int = 60,
    done: int | None = None,
    task_types: tuple[str, ...] = TASK_TYPES,
    samples: tuple[Sample, ...] = SAMPLES,
    message: str = "",
    objective: str = "nll",
    documents: bool = False,
) -> RunDirectory:
    """Write a run directory.

    Args:
        path: Where.
        state: ``new`` (nothing but a status), ``running``, ``interrupted``, ``failed`` or
            ``finished``; a running one is given back with its lock held.
        steps: Steps planned; three epochs.
        done: Steps done; all of them by default, half of them where the run did not finish.
        task_types: Names, used as channels.
        samples: Samples to write.
        message: Why it failed.
        objective: What is minimised; a finished reward run has scores too.
        documents: Whether plain text is learned.
    """
    run = RunDirectory.create(path)
    if state == "new":
        return run
    if done is None:
        done = steps if state == "finished" else steps // 2
    recipe = Recipe.model_validate(
        {
            "name": path.name,
            "data": {"train": ["data/identity.jsonl", "data/常识.jsonl"], "eval_share": 0.1},
            "training": {"epochs": 3, "learning_rate": 5e-4, "batch_records": 16},
            "samples": {"prompts": ["Who are you?"]},
            "objective": {"name": objective},
            "sequences": {"documents": documents},
        }
    )
    run.write_recipe(f"name: {path.name}\ndata:\n  train: [data/identity.jsonl, data/常识.jsonl]\n")
    run.write_resolved(
        Resolved(
            recipe=recipe.model_dump(mode="json"),
            environment=collect_environment(path),
            data_fingerprint="5d1c9f0e2ab84c77",
            device="cpu, 2 threads",
            dtype="float32",
            total_steps=steps,
            records=dict.fromkeys(task_types, 64),
            eval_records=dict.fromkeys(task_types, 7),
        )
    )
    write_dropped(run)
    every, epoch = max(1, steps // 12), steps / 3
    kind = {
        "steps": steps, "steps_per_epoch": epoch, "task_types": task_types, "objective": objective
    }  # fmt: skip
    run.append_metrics(row(0, "eval", **kind))
    for step in range(1, done + 1):
        run.append_metrics(row(step, **kind))
        if step % every == 0:
            run.append_metrics(row(step, "eval", **kind))
    if state == "finished":
        run.write_samples(samples)
        if objective == "reward":
            run.write_scores(scores(task_types))
        run.finish(summary(run, task_types, objective, documents=documents))
    else:
        run.write_samples(sample.model_copy(update={"after": None}) for sample in samples)
        run.set_state(state, message)
    if state != "running":
        run.close()
    return run


def summary(
    run: RunDirectory,
    task_types: tuple[str, ...] = TASK_TYPES,
    objective: str = "nll",
    *,
    documents: bool = False,
):
    return summarise(
        run.metrics(),
        documents=documents,
        objective=objective,
        name=run.name,
        model="builtin:smollm2-135m-instruct",
        method="lora",
        records=64 * len(task_types),
        eval_records=7 * len(task_types),
        trainable_parameters=4_884_480,
        total_parameters=139_399_488,
        peak_bytes=1_842_000_000,
        quickstart={
            "identity_before": 0,
            "identity_after": 19,
            "identity_total": 20,
            "general_before": 13,
            "general_after": 13,
            "general_total": 20,
            "train_seconds": 126.0,
        },
    )


def write_dropped(run: RunDirectory) -> None:
    drops = [
        Dropped(
            record_id=f"r{index}",
            task_type=TASK_TYPES[index % 3],
            branch=index,
            reason="overlong",
            detail=f"{2100 + index} tokens",
        )
        for index in range(12)
    ]
    drops.append(Dropped(record_id="r99", task_type=TASK_TYPES[4], reason="nothing to learn"))
    cut = {"task_type": TASK_TYPES[3], "reason": "prompt truncated", "kept": True}
    drops.append(Dropped(record_id="r7", branch=1, detail="2,311 tokens cut to 2,048", **cut))
    run.write_dropped(drops)
    broken = [Rejected(file="data/常识.jsonl", line=17, reason="not JSON", text='{"messages": [')]
    write_rows(run.rejected_path, broken)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--state", default="finished")
    parser.add_argument("--types", type=int, default=len(TASK_TYPES))
    parser.add_argument("--objective", default="nll")
    parser.add_argument("--documents", action="store_true")
    given = parser.parse_args()
    names = TASK_TYPES + tuple(f"area{i // 4}/skill_{i}" for i in range(given.types))
    made = make_run(
        given.folder, state=given.state, steps=given.steps, task_types=names[: given.types],
        objective=given.objective, documents=given.documents,
        message="TrainingError: the loss was not finite" if given.state == "failed" else "",
    )  # fmt: skip
    print(*write_report(made.path))  # noqa: T201
