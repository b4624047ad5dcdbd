"""Evaluation: batched answers beside ``generate`` one by one, and options scored on the forest."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from bench.cases import (
    ANSWERING,
    ANSWERING_GOAL,
    ANSWERING_PROMPTS,
    ANSWERING_TOKENS,
    LOGPROB_TOLERANCE,
    MODEL,
    OPTIONS,
    OPTIONS_GOAL,
    OPTIONS_QUESTIONS,
    SEED,
)
from bench.letters import letter_records
from bench.results import Goal, Result

T = TypeVar("T")

CHOICES = (
    "It asks for a bicycle.",
    "It complains of a broken part.",
    "It thanks for the help.",
    "It asks for money back.",
)


def measure_answering(say: Callable[[str], None], prompts: int = ANSWERING_PROMPTS) -> Result:
    """Answer the general suite's English questions, greedily.

    The peer is transformers' ``generate`` for one prompt at a time, with its cache, on the same
    tokens; it ends at the same stop tokens. Both are computed in float32.
    """
    import torch

    from danlu.evaluation.suites import load_suite
    from danlu.generation import Sampling
    from danlu.generation.load import load_generator

    generator = load_generator(MODEL)
    asked = [
        str(item.messages[-1]["content"])
        for item in load_suite("general").items
        if item.task_type in ("instructions/en", "knowledge/en", "harmless/en")
    ]
    drawn = random.Random(SEED).sample(asked, prompts)
    encoded = [generator.encode(prompt) for prompt in drawn]
    sampling = Sampling(ANSWERING_TOKENS, greedy=True)

    def theirs() -> list[tuple[int, ...]]:
        answers = []
        for ids in encoded:
            found = generator.model.generate(
                torch.tensor([ids]),
                attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                do_sample=False,
                max_new_tokens=ANSWERING_TOKENS,
                eos_token_id=sorted(generator.stop_ids),
                pad_token_id=0,
            )
            answers.append(tuple(found[0, len(ids) :].tolist()))
        return answers

    def ours() -> list[tuple[int, ...]]:
        return [one.token_ids for one in generator.generate_ids(encoded, sampling)]

    generator.generate_ids(encoded[:2], Sampling(2, greedy=True))  # warms up
    seconds, found = _timed(ours)
    peer_seconds, expected = _timed(theirs)
    tokens = sum(map(len, expected))
    same = sum(one == other for one, other in zip(found, expected, strict=True))
    ours_tokens = sum(map(len, found))
    speed, peer = ours_tokens / seconds, tokens / peer_seconds
    say(f"{ANSWERING}: {prompts} prompts, {seconds:.1f} and {peer_seconds:.1f} s, {same} the same")
    return _result(
        ANSWERING,
        "tokens/s",
        speed,
        peer,
        (Goal("speed over generate one by one", speed / peer, ANSWERING_GOAL),),
        {
            "model": MODEL,
            "prompts": prompts,
            "max_new_tokens": ANSWERING_TOKENS,
            "prompt_tokens": sum(map(len, encoded)),
            "tokens": ours_tokens,
            "seconds": seconds,
            "peer_name": "transformers generate, one prompt at a time",
            "peer_tokens": tokens,
            "peer_seconds": peer_seconds,
            "same_answers": same,
        },
    )


def measure_options(say: Callable[[str], None], questions: int = OPTIONS_QUESTIONS) -> Result:
    """Score four options to each question about a letter of some 300 tokens.

    The peer is Danlu with each option as a row of its own, letter included; rows share batches.
    """
    from danlu.evaluation.likelihood.forest import LikelihoodModel, Wanted
    from danlu.generation.load import load_generator
    from danlu.records import Message

    generator = load_generator(MODEL)
    letters = [record.messages[0].content for record in letter_records(questions, 1, 2, SEED)]
    wanted = [
        Wanted((Message("user", f"{letter}\n\nWhat does this letter do?"),), choice)
        for letter in letters
        for choice in CHOICES
    ]
    groups = [place // len(CHOICES) for place in range(len(wanted))]
    forest, rows = LikelihoodModel(generator), LikelihoodModel(generator, forest=False)
    assert forest.reason is None, forest.reason
    context = [len(generator.encode(one.messages)) for one in wanted[:: len(CHOICES)]]
    for model in (forest, rows):
        model.logprobs(wanted[: len(CHOICES)], groups=groups[: len(CHOICES)])  # warms up
    seconds, found = _timed(lambda: forest.logprobs(wanted, groups=groups))
    peer_seconds, expected = _timed(lambda: rows.logprobs(wanted, groups=groups))
    differ = max(
        abs((one.logprob or 0.0) - (other.logprob or 0.0))
        for one, other in zip(found, expected, strict=True)
    )
    say(f"{OPTIONS}: {questions} questions, {seconds:.1f} and {peer_seconds:.1f} s")
    return _result(
        OPTIONS,
        "questions/s",
        questions / seconds,
        questions / peer_seconds,
        (
            Goal("speed over each option as a row", peer_seconds / seconds, OPTIONS_GOAL),
            Goal("largest difference in nats", differ, LOGPROB_TOLERANCE, "at most"),
        ),
        {
            "model": MODEL,
            "questions": questions,
            "options": len(CHOICES),
            "context_tokens": sum(context) / len(context),
            "seconds": seconds,
            "peer_name": "each option as a row",
            "peer_seconds": peer_seconds,
        },
    )


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def _result(
    name: str,
    unit: str,
    danlu: float,
    peer: float,
    goals: tuple[Goal, ...],
    details: dict[str, Any],
) -> Result:
    return Result(
        name=name,
        unit=unit,
        danlu=danlu,
        peer=peer,
        ratio=danlu / peer,
        limit_fraction=None,
        torch_limit_fraction=None,
        peak_bytes=None,
        peer_peak_bytes=None,
        goals=goals,
        details=details,
    )
