"""Preparing data: read, render, tokenise and build, against the bare tokenizer on the same text."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

from bench.batches import instruction_file
from bench.cases import MODEL, PREPARE, PREPARE_GOAL
from bench.results import Goal, Result

REPEATS = 25


def measure(say: Callable[[str], None], repeats: int = REPEATS) -> Result:
    """Time both in turns and compare the medians.

    The bare tokenizer gets one string per branch, rendered beforehand, and its encodings are not
    looked at. Danlu begins with the file and ends with the arrays that training reads.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    from danlu.config.recipe import SequencesSection
    from danlu.models.load import load_tokenizer
    from danlu.records import Source, read_records
    from danlu.sequences.branches import turns
    from danlu.sequences.prepare import prepare
    from danlu.sequences.template import ChatTemplate

    tokenizer, settings = load_tokenizer(MODEL), SequencesSection()
    template = ChatTemplate.load(tokenizer)
    source = Source(str(instruction_file()))
    texts = [
        turn.prompt_text + turn.completion_text
        for record in read_records([source])
        for turn in turns(record, template, settings)
    ]
    bare = tokenizer.backend_tokenizer

    def ours() -> int:
        return len(prepare(read_records([source]), tokenizer, template, settings))

    def theirs() -> int:
        return len(bare.encode_batch(texts, add_special_tokens=False))

    records = ours()  # the first of each warms up
    theirs()
    ours_s, theirs_s = [], []
    for _ in range(repeats):
        ours_s.append(_seconds(ours))
        theirs_s.append(_seconds(theirs))
    danlu, peer = (records / statistics.median(times) for times in (ours_s, theirs_s))
    say(f"{PREPARE}: {repeats} times {records} records, {danlu:,.0f} and {peer:,.0f} records/s")
    return Result(
        name=PREPARE,
        unit="records/s",
        danlu=danlu,
        peer=peer,
        ratio=danlu / peer,
        goals=(Goal("speed over the bare tokenizer's", danlu / peer, PREPARE_GOAL),),
        details={
            "model": MODEL,
            "data": instruction_file().name,
            "peer": "tokenizers, encode_batch over the rendered text",
            "records": records,
            "characters": sum(map(len, texts)),
            "danlu_seconds": ours_s,
            "peer_seconds": theirs_s,
        },
    )


def _seconds(work: Callable[[], int]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
