"""From records to what the model sees and learns: chat template, branches, token ids, weights.

The only place that renders, tokenises, shifts, truncates or packs. Nothing here reads data files,
loads models or computes a loss; and but for ``forest.py`` nothing here imports torch.
"""

from danlu.sequences.answers import answers_of
from danlu.sequences.branch import Branch
from danlu.sequences.branches import TurnText, turns
from danlu.sequences.encode import encode_completion, encode_prompt
from danlu.sequences.explain import explain_rows
from danlu.sequences.prepare import preparation_key, prepare
from danlu.sequences.prepared import Drop, PreparedData
from danlu.sequences.shipped import SHIPPED
from danlu.sequences.split import hold_out
from danlu.sequences.template import ChatTemplate
from danlu.sequences.terminal import render_terminal

__all__ = [
    "SHIPPED",
    "Branch",
    "ChatTemplate",
    "Drop",
    "PreparedData",
    "TurnText",
    "answers_of",
    "encode_completion",
    "encode_prompt",
    "explain_rows",
    "hold_out",
    "preparation_key",
    "prepare",
    "render_terminal",
    "turns",
]
