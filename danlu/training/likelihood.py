"""How likely a model finds the answers of records: perplexity and how far the prompt helps.

The loss of an answer given its prompt is that of training: the same template, the same tokens, the
stop token with them. Its loss alone is that of the same tokens behind nothing but the header of an
answer. Both go through the model as one forest, so a prompt that records share is computed once.

Instruction-following difficulty (Li et al. 2023, arXiv:2308.12032, equations 2 to 4) is the mean
loss per token given the prompt over the mean loss per token alone: near 1 the prompt hardly helps,
so the record has much to teach; above 1 prompt and answer do not belong together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from danlu.config.recipe import SequencesSection
from danlu.errors import ModelError, TemplateError
from danlu.generation.load import fingerprint
from danlu.generation.local import TransformersGenerator
from danlu.models.encoders import is_encoder
from danlu.models.forest_support import use_forest_attention
from danlu.models.fused import fuse_layers
from danlu.models.load import load_config, load_model, load_tokenizer, pick_device, pick_dtype
from danlu.records import Record
from danlu.sequences import ChatTemplate, encode_prompt, turns
from danlu.sequences.branch import Branch
from danlu.sequences.forest import Pack
from danlu.sequences.prepare import prepare
from danlu.training.loss_cache import Loss, LossCache, loss_key
from danlu.training.scoring import Packing, completion_sums
from danlu.training.setup import PACK_TOKENS_CPU, PACK_TOKENS_GPU

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RECORDS_AT_A_TIME = 256
"""Records merged into one forest."""

Told = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Likelihood:
    """What a model says of one record's answers.

    Attributes:
        id: Of the record.
        task_type: Of the record.
        given: Loss of its answers, each after its prompt; of a plain document, of its text.
        alone: Loss of the same tokens without prompts; None where that was not asked, or of a
            document.
        reason: Why there is no loss; empty if there is one.
    """

    id: str
    task_type: str
    given: Loss | None = None
    alone: Loss | None = None
    reason: str = ""

    @property
    def loss(self) -> float | None:
        """Mean loss per token in nats."""
        return None if self.given is None else self.given.nats / self.given.tokens

    @property
    def perplexity(self) -> float | None:
        """The loss as perplexity, ``exp`` of the mean."""
        return None if self.loss is None else math.exp(min(self.loss, 700.0))

    @property
    def ifd(self) -> float | None:
        """Instruction-following difficulty.

        Example:
            >>> Likelihood("1", "a/b", Loss(3.0, 2), Loss(4.0, 2)).ifd
            0.75
        """
        if self.given is None or self.alone is None or not self.alone.nats:
            return None
        return self.given.nats / self.alone.nats


@dataclass(frozen=True, eq=False)
class Judge:
    """A model that says how likely answers are.

    Attributes:
        model: In evaluation mode, on forest attention where its layers allow it.
        tokenizer: Its tokenizer.
        template: Its chat template.
        packing: How branches are laid out.
        name: Changes when the weights, the prompt format or the number format do.
        notes: What a user should know.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    template: ChatTemplate
    packing: Packing
    name: str
    notes: tuple[str, ...] = ()

    @classmethod
    def load(
        cls,
        model: str,
        *,
        template: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        pack_tokens: int | None = None,
        trust_remote_code: bool = False,
    ) -> Self:
        """Load a model.

        Args:
            model: A run, folder, GGUF file, hub id or ``builtin:NAME``.
            template: A chat template in place of the tokenizer's own.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
            precision: ``auto``, ``float32`` or ``bfloat16``.
            pack_tokens: Most unique tokens computed at a time; None chooses by device.
            trust_remote_code: Run Python code that comes with the model.

        Raises:
            ModelError: If it is not there, cannot be read, or predicts no tokens.
            TemplateError: If it has no chat template and none was given.
        """
        trusting: dict[str, Any] = {"trust_remote_code": trust_remote_code}
        tokenizer = load_tokenizer(model, **trusting)
        chat_template = ChatTemplate.load(tokenizer, template)
        if is_encoder(load_config(model, **trusting)):
            raise ModelError("an encoder predicts no text; take a decoder.", where=model)
        place = pick_device(device)
        loaded = load_model(model, dtype=pick_dtype(precision, place), device=place, **trusting)
        return cls.of(loaded, tokenizer, chat_template, pack_tokens)

    @classmethod
    def of(
        cls,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        template: ChatTemplate,
        pack_tokens: int | None = None,
        *,
        forest: bool = True,
    ) -> Self:
        """Take a model that is there; it is put on forest attention, if that computes the same."""
        name = fingerprint(TransformersGenerator(model, tokenizer, template))
        reason = use_forest_attention(model) if forest else "rows are asked for"
        fuse_layers(model)
        on_cpu = model.device.type == "cpu"
        tokens = pack_tokens or (PACK_TOKENS_CPU if on_cpu else PACK_TOKENS_GPU)
        notes = (f"padded rows instead of a forest: {reason}",) if reason else ()
        packing = Packing(tokens, forest=reason is None)
        return cls(model, tokenizer, template, packing, name, (*template.notes, *notes))

    def header(self) -> list[int]:
        """Return what stands before an answer when no prompt does, as token ids.

        It is what the template writes to begin an answer, after its first token of all where it
        has one (BOS); where it writes nothing, the tokenizer's BOS or else the stop token.
        """
        asked = [{"role": "user", "content": "question"}]
        before = self.template.render(asked)
        whole = self.template.render(asked, add_generation_prompt=True)
        text = whole[len(before) :] if whole.startswith(before) else ""
        first = self.tokenizer.bos_token
        if first and whole.startswith(str(first)):
            text = f"{first}{text}"
        ids = encode_prompt(self.tokenizer, text) if text else []
        if ids:
            return ids
        bos = self.tokenizer.bos_token_id
        return [bos if isinstance(bos, int) else self.template.stop_ids[0]]

    @torch.no_grad()
    def losses(self, branches: Sequence[Branch]) -> Iterator[tuple[list[int], list[Loss]]]:
        """Yield, pack by pack, places of branches and the losses of their predicted tokens.

        Raises:
            ModelError: If a loss is not finite.
        """
        for pack in self.packing.packs(branches):
            found = self._pack(pack)
            if not all(math.isfinite(loss.nats) for loss in found):
                raise ModelError(
                    "the model gives an answer a loss that is not finite. Look at the model with "
                    "danlu chat, and compute in float32."
                )
            yield pack.members.tolist(), found

    def _pack(self, pack: Pack) -> list[Loss]:
        return [Loss(-one.logprob, one.tokens) for one in completion_sums(self.model, pack)]


def likelihoods(
    judge: Judge,
    records: Iterable[Record],
    settings: SequencesSection,
    *,
    alone: bool = True,
    cache: LossCache | None = None,
    told: Told | None = None,
) -> Iterator[Likelihood]:
    """Say of every record how likely its answers are, in the order of the records.

    All answers of a conversation count, but those of weight 0; each is predicted after the
    conversation up to it. What is left out has no loss, and says why.

    Args:
        judge: The model.
        records: Gone through once; some hundreds are held at a time.
        settings: ``max_length``, ``overlong``, ``turns`` and ``reasoning``, as in training.
        alone: Compute also the loss without prompts.
        cache: Losses known before; what is computed is kept there pack by pack.
        told: Told how many records are done.

    Raises:
        ModelError: If a loss is not finite.
    """
    rest, done = iter(records), 0
    header = judge.header() if alone else []
    # Equal weights: a message's weight says what training makes of it, not what the model thinks.
    settings = settings.model_copy(update={"weighting": "token", "train_on_prompt": False})
    while chunk := list(islice(rest, RECORDS_AT_A_TIME)):
        yield from _chunk(judge, chunk, settings, header, cache, _from(told, done, len(chunk)))
        done += len(chunk)
        if told is not None:
            told(done)


def _from(told: Told | None, done: int, count: int) -> Callable[[float], None] | None:
    """Tell records of the share of a chunk that is done."""
    return None if told is None else lambda share: told(done + int(share * count))


def _chunk(
    judge: Judge,
    records: Sequence[Record],
    settings: SequencesSection,
    header: Sequence[int],
    cache: LossCache | None,
    told: Callable[[float], None] | None,
) -> Iterator[Likelihood]:
    reasons = _unrendered(judge, records, settings)
    fit = [number for number, record in enumerate(records) if record.id not in reasons]
    data = prepare(
        [records[number] for number in fit],
        judge.tokenizer,
        judge.template,
        settings,
        documents=any(record.is_text for record in records),
    )
    reasons |= {drop.record_id: drop.detail or drop.reason for drop in data.drops if not drop.kept}
    given: dict[int, list[Branch]] = {}
    bare: dict[int, list[Branch]] = {}
    for number, place in enumerate(data.record_position.tolist()):
        position = fit[place]
        own = [one for one in data.record(number) if (one.weights[1:] > 0).any()]
        if not own:
            continue
        given[position] = own
        if header and not records[position].is_text:
            bare[position] = [without_prompt(one, header) for one in own]
    branches = [one for part in (given, bare) for own in part.values() for one in own]
    losses = iter(_losses(judge, branches, cache, told))
    sums = [
        {position: _sum([next(losses) for _ in own]) for position, own in part.items()}
        for part in (given, bare)
    ]
    for position, record in enumerate(records):
        found = sums[0].get(position)
        reason = "" if found else reasons.get(record.id, "there is no answer to be learned")
        yield Likelihood(record.id, record.task_type, found, sums[1].get(position), reason)


def _unrendered(
    judge: Judge, records: Sequence[Record], settings: SequencesSection
) -> dict[str, str]:
    """Return why records cannot be rendered, by id: a template without tools, a role it lacks."""
    reasons = {}
    for record in records:
        if not record.is_text:
            try:
                turns(record, judge.template, settings)
            except TemplateError as error:
                reasons[record.id] = error.message
    return reasons


def without_prompt(branch: Branch, header: Sequence[int]) -> Branch:
    """Return a branch's completion behind a header, its weights as they were."""
    completion = branch.input_ids[branch.prompt_tokens :]
    weights = branch.weights[branch.prompt_tokens :]
    return replace(
        branch,
        input_ids=np.concatenate([np.asarray(header, np.int32), completion]),
        weights=np.concatenate([np.zeros(len(header), np.float32), weights]),
        prompt_tokens=len(header),
    )


def _losses(
    judge: Judge,
    branches: Sequence[Branch],
    cache: LossCache | None,
    told: Callable[[float], None] | None,
) -> list[Loss]:
    """Return the loss of each branch; equal ones are computed once."""
    keys = [loss_key(judge.name, branch) for branch in branches]
    found = cache.known(keys) if cache is not None else {}
    missing = {key: branch for key, branch in zip(keys, branches, strict=True) if key not in found}
    waiting, done = list(missing), 0
    for places, losses in judge.losses(list(missing.values())):
        fresh = {waiting[place]: loss for place, loss in zip(places, losses, strict=True)}
        if cache is not None:
            cache.keep(fresh)
        found |= fresh
        done += len(fresh)
        if told is not None:
            told(done / len(waiting))
    return [found[key] for key in keys]


def _sum(losses: Sequence[Loss]) -> Loss:
    return Loss(sum(one.nats for one in losses), sum(one.tokens for one in losses))
