"""``rollouts.jsonl``: a few rollouts of each step, for a person to read.

A reward that rises says little while nobody reads what it is given for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from danlu.records import Record
from danlu.runs import files
from danlu.runs.schema import Row, Text
from danlu.sequences.prepared import PreparedData
from danlu.sequences.prompts import prompt_messages
from danlu.training.rollouts import Rollouts
from danlu.training.samples import Question

LOG = "rollouts.jsonl"


class RolloutRow(Row):
    """One rollout, for a person to read.

    Attributes:
        step: In which it was sampled, from 1.
        record: Id of the record.
        task_type: Its task type.
        prompt: What was asked.
        answer: What the policy answered.
        reward: As the reward gave it.
        kl: KL to the reference over the whole answer, in nats, as this one sample tells it; None
            without a reference.
        tokens: Length of the answer.
        finished: Whether it ended with a stop token.
    """

    step: int
    record: Text
    task_type: Text
    prompt: Text
    answer: Text
    reward: float
    kl: float | None = None
    tokens: int
    finished: bool


class RolloutLog:
    """``rollouts.jsonl`` of a run directory; written by the main process only.

    Args:
        folder: The run directory.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG

    def append(self, rows: Sequence[RolloutRow]) -> None:
        """Add the rows of a step."""
        with self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.writelines(row.to_json() + "\n" for row in rows)

    def rows(self) -> list[RolloutRow]:
        """Read all rows; none if there is no file."""
        return list(files.read_rows(RolloutRow, self.path))

    def truncate_after(self, step: int) -> None:
        """Cut off the rows after ``step``, which a resumed run writes anew."""
        files.cut_torn_line(self.path)
        if self.path.exists():
            files.write_rows(self.path, [row for row in self.rows() if row.step <= step])


def rollout_rows(
    rollouts: Rollouts,
    kl: Sequence[float] | None,
    step: int,
    prompts: PreparedData,
    records: Sequence[Record],
    count: int,
) -> list[RolloutRow]:
    """Write some rollouts of a step as rows.

    Args:
        rollouts: Of the step.
        kl: Of each answer, in nats; None without a reference.
        step: The step, from 1.
        prompts: The prepared data that the prompts are from.
        records: The record behind each.
        count: Most rows.
    """
    rows = []
    for index in telling(rollouts, count):
        prompt, completion = rollouts.prompts[index], rollouts.completions[index]
        finite = kl is not None and math.isfinite(kl[index])
        rows.append(
            RolloutRow(
                step=step,
                record=prompts.record_ids[prompt.record],
                task_type=prompts.channels[prompt.channel],
                prompt=Question(prompt_messages(records[prompt.record])).text,
                answer=completion.text,
                reward=float(rollouts.rewards[index]),
                kl=kl[index] if kl is not None and finite else None,
                tokens=len(completion.token_ids),
                finished=completion.finished,
            )
        )
    return rows


def telling(rollouts: Rollouts, count: int) -> list[int]:
    """Choose which of a step's rollouts are written down: the best and the worst of each group.

    Args:
        rollouts: Of a step, in an order that is random already.
        count: Most of them.

    Example:
        >>> import numpy as np
        >>> from danlu.sequences.branch import Branch
        >>> prompts = [Branch(*[None] * 2, record, 0, 0, 0) for record in (7, 7, 7, 3)]
        >>> telling(Rollouts(prompts, [], np.array([0.0, 2.0, 1.0, 5.0])), 4)
        [1, 0, 3]
    """
    groups: dict[int, list[int]] = {}
    for index, prompt in enumerate(rollouts.prompts):
        groups.setdefault(prompt.record, []).append(index)
    chosen: list[int] = []
    for group in groups.values():
        best = max(group, key=lambda index: rollouts.rewards[index])
        worst = min(group, key=lambda index: rollouts.rewards[index])
        chosen += [best] if best == worst else [best, worst]
    return chosen[:count]
