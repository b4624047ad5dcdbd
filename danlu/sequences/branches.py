"""From a record to the texts of its branches: one prompt and one completion per assistant turn.

The branch of turn k is rendered as it will be when the model is asked for turn k:

    prompt     = render(messages[:k], add_generation_prompt=True)
    full       = render(messages[:k + 1])
    completion = what full has after prompt, up to and including the stop token

Templates that re-render history (that strip earlier reasoning, say) are right by construction:
their branches only share a shorter prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from danlu.config.recipe import SequencesSection
from danlu.errors import RecordError, TemplateError
from danlu.records.record import TEXT_ROLE, Record
from danlu.sequences.prepared import Drop
from danlu.sequences.reasoning import with_reasoning
from danlu.sequences.stop import role_is_rendered
from danlu.sequences.template import ChatTemplate

NOTHING_TO_LEARN = "nothing to learn"
NO_PROMPT = "no prompt"
EMPTY_ANSWER = "empty answer"
CUT_AT_STOP = "cut at a stop token"

PARTING_CONTEXT = 40  # characters shown on either side of where two renderings part


@dataclass(frozen=True, slots=True)
class TurnText:
    """The text of one branch.

    Attributes:
        prompt_text: What the model is shown.
        completion_text: What it is to write, its stop token included.
        message_index: Which message of the record is the completion.
        branch: Which of the record's trainable turns it is, from 0.
        weight: The message's weight in the loss.
    """

    prompt_text: str
    completion_text: str
    message_index: int
    branch: int
    weight: float


def turns(record: Record, template: ChatTemplate, settings: SequencesSection) -> list[TurnText]:
    """Return the texts of a record's branches.

    Raises:
        TemplateError: If the template refuses the record, leaves a message out, or does not begin
            the rendering of an answer with the rendering of its prompt.
        RecordError: If the record is plain text.
    """
    return record_turns(record, template, settings, [])


def record_turns(
    record: Record, template: ChatTemplate, settings: SequencesSection, drops: list[Drop]
) -> list[TurnText]:
    """Return the texts of a record's branches, and append to ``drops`` what is left out and why.

    Raises:
        TemplateError: As ``turns``.
        RecordError: As ``turns``.
    """
    try:
        return _record_turns(record, template, settings, drops)
    except TemplateError as fault:
        if fault.where is not None:
            raise
        raise TemplateError(fault.message, where=f"record {record.id}") from fault


def _record_turns(
    record: Record, template: ChatTemplate, settings: SequencesSection, drops: list[Drop]
) -> list[TurnText]:
    record = replace(record, messages=with_reasoning(record.messages, settings.reasoning))
    answers = [k for k, message in enumerate(record.messages) if message.role == "assistant"]
    candidates = answers if settings.turns == "all" else answers[-1:]
    # With train_on_prompt a turn of weight 0 stays a branch: its prompt is trained, its answer not.
    chosen = [k for k in candidates if settings.train_on_prompt or record.messages[k].weight > 0]
    if not chosen or not any(record.messages[k].weight > 0 for k in chosen):
        drops.append(_nothing(record, answers))
        return []
    _check_tools(record, template)
    messages = [template.message(message.as_dict()) for message in record.messages]
    tools = [dict(tool) for tool in record.tools] or None
    texts: list[TurnText] = []
    skipped: list[Drop] = []
    last_full = ""
    for branch, k in enumerate(chosen):
        if not _has_answer(messages[k]):
            skipped.append(_drop(record, branch, EMPTY_ANSWER, f"message {k + 1} is empty"))
            continue
        if k == 0:
            skipped.append(_drop(record, branch, NO_PROMPT, "no message comes before the answer"))
            continue
        prompt = template.render_plain(messages[:k], tools, True)
        full = template.render_plain(messages[: k + 1], tools, False)
        if not full.startswith(prompt):
            follows = record.messages[k - 1].role == "assistant"
            raise TemplateError(_parting(prompt, full, k, follows=follows))
        completion = _completion(full[len(prompt) :], template, record, branch, drops)
        texts.append(TurnText(prompt, completion, k, branch, record.messages[k].weight))
        last_full = full
    if texts:
        drops += skipped
        _check_all_shown(messages[: texts[-1].message_index], tools, last_full, template)
    else:
        reasons = ", ".join(dict.fromkeys(drop.reason for drop in skipped))
        drops.append(_drop(record, None, NOTHING_TO_LEARN, f"no turn is left: {reasons}"))
    return texts


def _completion(
    rest: str, template: ChatTemplate, record: Record, branch: int, drops: list[Drop]
) -> str:
    """Cut what follows the prompt after its first stop token; append one where none is written."""
    ends = [
        place + len(token) for token in template.stop_tokens if (place := rest.find(token)) >= 0
    ]
    if not ends:
        return rest + template.stop_tokens[0]
    end = min(ends)
    after = rest[end:]
    if after and after not in template.probed.tails and after.strip():
        detail = f"the answer has {rest[:end][-20:]!r} inside; {len(after)} characters are cut"
        drops.append(_drop(record, branch, CUT_AT_STOP, detail, kept=True))
    return rest[:end]


def _has_answer(message: dict[str, Any]) -> bool:
    content = message.get("content")
    if content is None or (isinstance(content, str) and not content.strip()):
        return any(message.get(name) for name in ("tool_calls", "reasoning_content"))
    return True


def _check_tools(record: Record, template: ChatTemplate) -> None:
    """Refuse a record whose tools or tool calls the template would leave out in silence."""
    if record.tools and not template.probed.renders_tools:
        raise TemplateError(
            f"The record declares {len(record.tools)} tools, which the chat template "
            f"({template.name}) does not render. Choose one that does, such as "
            "model.template: chatml, or take the tools out."
        )
    if not template.probed.renders_calls:
        for message in record.messages:
            if message.extra.get("tool_calls"):
                raise TemplateError(
                    "The record has tool calls, which the chat template "
                    f"({template.name}) does not render. Choose one that does, such as "
                    "model.template: chatml, or write the calls out as content."
                )


def _check_all_shown(
    messages: Sequence[dict[str, Any]], tools: Any, text: str, template: ChatTemplate
) -> None:
    """Refuse a record of which the template leaves a message out.

    Assistant turns may be shown in another form later on (without their reasoning), so they are
    not looked for. Others are looked for as they are, and if they are not found, by a mark in
    their place: a template may quote or trim them.
    """
    for index, message in enumerate(messages):
        content = message.get("content")
        if message["role"] == "assistant" or not content or not isinstance(content, str):
            continue
        if content in text or content.strip() in text:
            continue
        if not role_is_rendered(template.render_plain, messages, index, tools):
            raise TemplateError(
                f"The chat template ({template.name}) leaves message {index + 1} out: it does not "
                f"render the role {message['role']!r} at that place. Rename the role, or choose "
                "another template with model.template."
            )


def _parting(prompt: str, full: str, k: int, *, follows: bool) -> str:
    """Say where the rendering of a prompt and that of its answer part."""
    pairs = enumerate(zip(prompt, full, strict=False))
    same = next((i for i, (a, b) in pairs if a != b), min(len(prompt), len(full)))
    start = max(0, same - PARTING_CONTEXT)
    ahead = slice(same, same + PARTING_CONTEXT)
    remedy = (
        "Two assistant messages follow each other there: join them into one"
        if follows
        else "Set model.template_options so that both agree (enable_thinking must fit the data)"
    )
    return (
        f"The chat template cannot be trained exactly on message {k + 1}: what it renders with the "
        "answer does not begin with the prompt that the model is shown when asked. After "
        f"{prompt[start:same]!r} the prompt goes on with {prompt[ahead]!r}, the rendering with the "
        f"answer with {full[ahead]!r}. {remedy}, or choose another model.template."
    )


def _nothing(record: Record, answers: Sequence[int]) -> Drop:
    """Return why a record has nothing to learn.

    Raises:
        RecordError: If it is plain text.
    """
    if all(message.role == TEXT_ROLE for message in record.messages) and not record.responses:
        raise RecordError(
            f"This is plain text for pre-training, from {record.source or 'an unnamed source'}; "
            "supervised tuning needs conversations, or prompts and completions. Set "
            "sequences.documents: true to learn it whole.",
            where=f"record {record.id}",
        )
    if not answers:
        detail = "no assistant turn"
        if record.responses:
            detail += f"; its {len(record.responses)} responses are for preference objectives"
    else:
        detail = "every assistant turn that could be trained has weight 0"
    return _drop(record, None, NOTHING_TO_LEARN, detail)


def _drop(
    record: Record, branch: int | None, reason: str, detail: str, *, kept: bool = False
) -> Drop:
    return Drop(record.id, record.task_type, branch, reason, detail, kept)
