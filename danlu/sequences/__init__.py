"""From records to what the model sees and learns: chat template, branches, token ids, weights.

The only place that renders, tokenises, shifts, truncates or packs. Nothing here reads data files,
loads models or computes a loss; and but for ``forest.py`` nothing here imports torch.

Names are imported when they are first used: a process that only renders needs a tenth of it all.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from danlu.sequences.answers import answers_of as answers_of
    from danlu.sequences.branch import Branch as Branch
    from danlu.sequences.branches import TurnText as TurnText
    from danlu.sequences.branches import turns as turns
    from danlu.sequences.encode import encode_completion as encode_completion
    from danlu.sequences.encode import encode_prompt as encode_prompt
    from danlu.sequences.explain import explain_rows as explain_rows
    from danlu.sequences.prepare import preparation_key as preparation_key
    from danlu.sequences.prepared import Drop as Drop
    from danlu.sequences.prepared import PreparedData as PreparedData
    from danlu.sequences.shipped import SHIPPED as SHIPPED
    from danlu.sequences.split import hold_out as hold_out
    from danlu.sequences.template import ChatTemplate as ChatTemplate
    from danlu.sequences.terminal import render_terminal as render_terminal

_HOME = {
    "Branch": "danlu.sequences.branch",
    "ChatTemplate": "danlu.sequences.template",
    "Drop": "danlu.sequences.prepared",
    "PreparedData": "danlu.sequences.prepared",
    "SHIPPED": "danlu.sequences.shipped",
    "TurnText": "danlu.sequences.branches",
    "answers_of": "danlu.sequences.answers",
    "encode_completion": "danlu.sequences.encode",
    "encode_prompt": "danlu.sequences.encode",
    "explain_rows": "danlu.sequences.explain",
    "hold_out": "danlu.sequences.split",
    "preparation_key": "danlu.sequences.prepare",
    "render_terminal": "danlu.sequences.terminal",
    "turns": "danlu.sequences.branches",
}

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
    "render_terminal",
    "turns",
]


def __getattr__(name: str) -> Any:
    """Import a public name from the module where it lives."""
    if name not in _HOME:
        raise AttributeError(f"module 'danlu.sequences' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
