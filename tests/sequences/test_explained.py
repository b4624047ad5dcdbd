"""Explained branches: rows for programs, coloured text for people."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from danlu.config.recipe import SequencesSection
from danlu.records.record import Message, Record
from danlu.sequences.explain import explain_rows
from danlu.sequences.prepare import prepare
from danlu.sequences.template import ChatTemplate
from danlu.sequences.terminal import branch_text, pieces, render_terminal

RECORDS = [
    Record(
        "r0",
        "a/two",
        (
            Message("user", "你好\tQ"),
            Message("assistant", "丹炉🐉\n!"),
            Message("user", "Q2"),
            Message("assistant", "one two three", 0.5),
        ),
    ),
    Record("r1", "b/none", (Message("user", "Q"),)),
    Record("r2", "a/two", (Message("user", "Q"), Message("assistant", "A\x1b[31m"))),
]
FIRST = "<|im_start|>user\n你好\tQ<|im_end|>\n<|im_start|>assistant\n"


def rows_of(tokenizer, **settings):
    template, section = ChatTemplate.load(tokenizer), SequencesSection(**settings)
    prepared = prepare(RECORDS, tokenizer, template, section)
    return list(explain_rows(prepared, iter(RECORDS), tokenizer, template, section))


def test_rows(tiny_tokenizer):
    rows = rows_of(tiny_tokenizer)
    assert [(row["record"], row["branch"], row["task_type"]) for row in rows] == [
        ("r0", 0, "a/two"),
        ("r0", 1, "a/two"),
        ("r2", 0, "a/two"),
    ]
    one, two, _ = rows
    assert one["prompt_text"] == FIRST
    assert one["completion_text"] == "丹炉🐉\n!<|im_end|>"
    assert two["prompt_text"].startswith(FIRST + one["completion_text"])
    assert set(two["weights"]) == {0.0, 0.5}
    for row in rows:
        text = row["prompt_text"] + row["completion_text"]
        assert tiny_tokenizer.decode(row["input_ids"]) == text
        assert len(row["weights"]) == len(row["shared"]) == len(row["input_ids"])
        assert not any(row["weights"][: row["prompt_tokens"]])
        assert all(row["weights"][row["prompt_tokens"] :])
        assert json.loads(json.dumps(row)) == row


def test_shared_tokens(tiny_tokenizer):
    one, two, alone = rows_of(tiny_tokenizer)
    assert all(one["shared"])  # the second path begins with all of the first
    assert two["shared"] == [i < len(one["input_ids"]) for i in range(len(two["input_ids"]))]
    assert not any(alone["shared"])


@pytest.mark.parametrize("overlong", ["truncate_prompt_left", "truncate_completion"])
def test_the_texts_of_a_cut_branch_are_those_of_its_tokens(tiny_tokenizer, overlong):
    whole = rows_of(tiny_tokenizer)
    limit = len(whole[2]["input_ids"]) - 2
    rows = rows_of(tiny_tokenizer, max_length=limit, overlong=overlong)
    cut = rows[-1]
    assert len(cut["input_ids"]) == limit
    assert tiny_tokenizer.decode(cut["input_ids"]) == cut["prompt_text"] + cut["completion_text"]
    assert whole[2]["prompt_text"].endswith(cut["prompt_text"])
    assert whole[2]["completion_text"].startswith(cut["completion_text"])


def test_pieces_are_whole_characters(tiny_tokenizer):
    text = "a 丹🐉é<|im_end|>龘"
    ids = tiny_tokenizer(text)["input_ids"]
    found = list(pieces(tiny_tokenizer, ids))
    assert "".join(piece.text for piece in found) == text
    assert [piece.start for piece in found[1:]] == [piece.end for piece in found[:-1]]
    assert {"🐉", "龘", "<|im_end|>"} <= {piece.text for piece in found}
    assert max(piece.end - piece.start for piece in found) > 1


def test_bytes_that_are_no_text_are_shown_all_the_same(tiny_tokenizer):
    ids = tiny_tokenizer("丹a")["input_ids"]
    broken = [ids[-2], *ids[-1:]]
    found = list(pieces(tiny_tokenizer, broken))
    assert [piece.end for piece in found] == [1, 2]
    assert found[1].text.endswith("a")


def printed(rows, tokenizer, **options) -> str:
    out = io.StringIO()
    render_terminal(rows, tokenizer, Console(file=out, width=60, **options))
    return out.getvalue()


def test_without_colour_trained_stretches_are_marked(tiny_tokenizer):
    text = printed(rows_of(tiny_tokenizer), tiny_tokenizer)
    assert "⟦丹炉🐉↵\n!<|im_end|>⟧" in text
    assert "<|im_start|>user↵\n你好⇥Q<|im_end|>↵\n" in text
    assert "⟦A␛[31m<|im_end|>⟧" in text  # a control character cannot reach the terminal
    assert "branch 1" in text
    assert "weight 0.5" in text
    assert "\x1b" not in text


def test_colours(tiny_tokenizer):
    rows = rows_of(tiny_tokenizer)
    text = printed(rows, tiny_tokenizer, force_terminal=True, color_system="standard")
    assert "\x1b[" in text
    assert "⟦" not in text
    styles = {
        str(span.style): branch_text(rows[1], tiny_tokenizer).plain[span.start : span.end]
        for span in branch_text(rows[1], tiny_tokenizer).spans
    }
    assert set(styles) == {"cyan", "dim", "bold green"}
    assert styles["bold green"] == "<|im_end|>"
    trained = {str(span.style) for span in branch_text(rows[0], tiny_tokenizer).spans}
    assert trained == {"cyan", "bold green underline"}
