"""A model and an objective as one module: packs go in, sums per channel come out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import PreTrainedModel

from danlu.models.adapters import unwrapped
from danlu.models.attention import ForestLayout
from danlu.models.context import ContextGroup, added_up
from danlu.models.encoders import encoder_states, is_encoder
from danlu.models.head import OutputHead
from danlu.models.readout import Readout, pooled
from danlu.objectives import Answers, ChannelSums, Objective, Predictions, Teacher
from danlu.objectives.objective import Reads
from danlu.sequences.branch import Branch
from danlu.sequences.forest import Pack, build_packs, build_rows, share_out


@dataclass(frozen=True)
class Packing:
    """How the branches of a step are laid out.

    Attributes:
        pack_tokens: Most unique tokens (forest) or cells (rows) computed at a time.
        forest: Merge branches; else padded rows.
        whole_records: Keep the branches of a record in one pack.
        context_parallel: How many processes compute a pack together.
    """

    pack_tokens: int
    forest: bool = True
    whole_records: bool = False
    context_parallel: int = 1

    def packs(self, branches: Sequence[Branch], parts: int = 1) -> list[Pack]:
        """Cut a step's branches into packs, at least ``parts`` where possible."""
        whole = self.whole_records
        if self.forest:
            return build_packs(branches, self.pack_tokens, parts=parts, whole_records=whole)
        return build_rows(branches, self.pack_tokens, whole_records=whole)

    def dealt(
        self, branches: Sequence[Branch], accelerator: Accelerator
    ) -> tuple[list[Pack], list[Pack]]:
        """Cut a step's branches into packs, and deal them to the processes.

        Returns:
            All packs, and those that this process computes, alone or with its group; as many in
            every process.
        """
        parts = accelerator.num_processes // self.context_parallel
        packs = self.packs(branches, parts)
        return packs, share_out(packs, parts)[accelerator.process_index // self.context_parallel]


WHOLE_ANSWERS: tuple[Reads, ...] = ("compared", "judged", "classes")
"""What objectives read that look at answers as a whole, not at one prediction after another."""


class Teaches(Protocol):
    """Whoever says something of a pack's predictions: see ``danlu.training.teacher``."""

    def of(
        self, pack: Pack, branches: Sequence[Branch], context: ContextGroup | None = None
    ) -> Teacher:
        """Return what there is to learn from, one row per prediction; in a context, of one's own.

        Args:
            pack: Of the student's.
            branches: Which the pack's ``members`` point into.
            context: The processes that compute the pack together, each of which must call this.
        """


class ScoringModel(nn.Module):
    """A causal language model, or an encoder, that scores packs.

    Wrapping model, readout and objective together lets data-parallel engines see one forward per
    pack.

    Args:
        model: The tuned model; a PEFT model or a plain one.
        objective: Makes a loss of scored predictions.
        channels: How many task types there are.
        readout: Reads numbers off a branch, where the objective asks for them.
        teacher: Says what the predictions should be, where the objective asks for it; no part of
            the module, so that nothing trains, shares out or saves it.
        context: The processes that compute a pack together; None: each pack is one's own.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        objective: Objective,
        channels: int,
        readout: Readout | None = None,
        teacher: Teaches | None = None,
        context: ContextGroup | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.readout = readout
        self.objective = objective
        self.channels = channels
        self.teacher = teacher
        self.context = context

    @property
    def base(self) -> Any:
        """The transformers model, with whatever adapters are inside it."""
        return unwrapped(self.model)

    def forward(
        self,
        pack: Pack | Callable[[ScoringModel], Any],
        branches: Sequence[Branch] = (),
        baseline: Tensor | None = None,
    ) -> Any:
        """Compute a pack and its ``ChannelSums``, on the model's device.

        Args:
            pack: A part of the step; or any other work with this module. Where weights are shared
                out over devices they are gathered within this method, and nowhere else.
            branches: The step's branches, which the pack's ``members`` point into.
            baseline: ``()``: for objectives that need one.

        Returns:
            The sums, which over the processes of a group add up to those of the pack; or what the
            work returned.
        """
        if not isinstance(pack, Pack):
            return pack(self)
        sums = self.objective.sums(self._predictions(pack, branches, baseline))
        if self.context is None or self.objective.reads not in WHOLE_ANSWERS:
            return sums
        # Each process has looked at the answers as a whole; predicted tokens are its own.
        size, own = self.context.size, () if self.objective.reads == "classes" else ("tokens",)
        return ChannelSums(
            sums.loss,
            {name: of if name in own else of / size for name, of in sums.totals.items()},
        )

    def answer_logprobs(self, pack: Pack, branches: Sequence[Branch]) -> Tensor:
        """Return the log-probability of each of the pack's completions, ``(A,)``, in nats."""
        return self._predictions(pack, branches).answer_logprobs()

    def readouts(self, pack: Pack) -> Tensor:
        """Return what the readout says of each of the pack's branches, ``(A, C)``."""
        read = self._read(token_states(self.base, pack, self.context), pack)
        assert read is not None
        return read

    def own(self, pack: Pack) -> Tensor:
        """Return bool ``(S,)``: which of a pack's predictions are computed in this process."""
        if self.context is None:
            return torch.ones(len(pack.predictor), dtype=torch.bool)
        return self.context.local(pack.predictor, pack.tokens) >= 0

    def _read(self, states_TD: Tensor, pack: Pack) -> Tensor | None:
        """Read each of the pack's branches, ``(A, C)``; None without a head."""
        if self.readout is None:
            return None
        # Under sharded training the head is a wrapped module, with the same attributes.
        if self.context is None:
            read: Tensor = self.readout(pooled(states_TD, pack, self.readout.info.pooling))
            return read
        last_A = self.context.local(pack.last, pack.tokens)
        here_A = (last_A >= 0).to(states_TD.device)
        own: Tensor = self.readout(states_TD[last_A[last_A >= 0].to(states_TD.device)])
        part = own.new_zeros(len(last_A), own.shape[1])
        return added_up(part.masked_scatter(here_A[:, None], own), self.context)

    def _predictions(
        self, pack: Pack, branches: Sequence[Branch], baseline: Tensor | None = None
    ) -> Predictions:
        base = self.base
        device = base.device
        states_TD = token_states(base, pack, self.context)
        predictor = torch.from_numpy(pack.predictor)
        if self.context is not None:
            predictor = self.context.local(pack.predictor, pack.tokens)
        own = self.own(pack)

        def place(array: Any) -> Tensor:
            return torch.from_numpy(array)[own].to(device)

        answers = _answers(
            [branches[index] for index in pack.members],
            self._read(states_TD, pack),
            device,
            with_classes=self.objective.reads == "classes",
        )
        return Predictions(
            hidden_SD=states_TD[predictor[own].to(device)],
            target=place(pack.target),
            weight=place(pack.weight),
            channel=place(pack.channel),
            branch=place(pack.branch),
            channels=self.channels,
            head=None if is_encoder(base.config) else OutputHead.of(base),
            answers=answers,
            baseline=baseline,
            teacher=None if self.teacher is None else self.teacher.of(pack, branches, self.context),
            context=self.context,
        )


def _answers(
    branches: Sequence[Branch],
    readout: Tensor | None,
    device: torch.device,
    *,
    with_classes: bool = False,
) -> Answers:
    """Gather what is said of the branches of a pack."""
    numbers: dict[tuple[int, int], int] = {}
    for branch in branches:
        numbers.setdefault(branch.member_of, len(numbers))
    rows = [
        (numbers[branch.member_of], branch.channel, branch.verdict.rank, branch.verdict.label)
        for branch in branches
    ]
    columns = torch.tensor(rows, dtype=torch.int64).reshape(len(rows), 4).to(device)
    # float32 holds a sum of log-probabilities to seven digits, as it was computed.
    floats = [(branch.verdict.score, branch.reference) for branch in branches]
    scores = torch.tensor(floats, dtype=torch.float32).reshape(len(rows), 2).to(device)
    classes = None
    if with_classes and readout is not None:
        classes = torch.zeros(readout.shape, dtype=torch.bool)
        for row, branch in enumerate(branches):
            classes[row, list(branch.classes)] = True
        classes = classes.to(device)
    return Answers(
        record=columns[:, 0],
        records=len(numbers),
        channel=columns[:, 1],
        rank=columns[:, 2],
        label=columns[:, 3],
        score=scores[:, 0],
        reference=scores[:, 1],
        readout=readout,
        classes=classes,
    )


def token_states(model: PreTrainedModel, pack: Pack, context: ContextGroup | None = None) -> Tensor:
    """Run a decoder, or an encoder, over a pack.

    Args:
        model: A causal language model, with ``FOREST_ATTENTION`` set for a forest pack; or an
            encoder, for rows only.
        pack: A forest, or padded rows.
        context: The processes that compute a forest together, each of which must call this.

    Returns:
        ``(T, D)``: the hidden state of each token, or of each that is this process's own; of padded
        rows, one row after another.
    """
    if is_encoder(model.config):
        return encoder_states(model, pack)
    device = model.device
    if pack.row_lengths is None:
        ids, positions, layout = _laid_out(pack, device, context)
        states: Tensor = model.get_decoder()(
            input_ids=ids[None].to(device),
            position_ids=positions[None].to(device),
            use_cache=False,
            forest=layout,
        ).last_hidden_state[0]
    else:
        input_ids = torch.from_numpy(pack.input_ids).to(device)
        lengths = torch.from_numpy(pack.row_lengths).to(device)
        mask = torch.arange(input_ids.shape[1], device=device)[None] < lengths[:, None]
        states = model.get_decoder()(
            input_ids=input_ids, attention_mask=mask.long(), use_cache=False
        ).last_hidden_state.flatten(0, 1)
    return states


class CompletionSum(NamedTuple):
    """What a model gives the predicted tokens of one branch.

    Attributes:
        logprob: Sum of their log-probabilities, in nats.
        tokens: How many they are.
        greedy: Whether each of them is the likeliest there.
    """

    logprob: float
    tokens: int
    greedy: bool


@torch.no_grad()
def completion_sums(model: PreTrainedModel, pack: Pack) -> list[CompletionSum]:
    """Run a decoder over a pack, and sum up what each of its branches gets.

    Args:
        model: As for ``token_states``.
        pack: Whose predictions count alike, whatever their weight is.

    Returns:
        One for each of the pack's members, in their order; sums are made in float64.
    """
    states_TD = token_states(model, pack)
    predictor, target = (
        torch.from_numpy(array).to(states_TD.device) for array in (pack.predictor, pack.target)
    )
    logprob_S, likeliest_S = OutputHead.of(model).judged(states_TD[predictor], target)
    branch_S, count = torch.from_numpy(pack.branch), len(pack.members)
    total_A = torch.zeros(count, dtype=torch.float64)
    total_A.index_add_(0, branch_S, logprob_S.double().cpu())
    tokens_A = torch.bincount(branch_S, minlength=count)
    greedy_A = torch.bincount(branch_S[likeliest_S.cpu()], minlength=count) == tokens_A
    rows = zip(total_A.tolist(), tokens_A.tolist(), greedy_A.tolist(), strict=True)
    return [CompletionSum(*row) for row in rows]


def _laid_out(
    pack: Pack, device: torch.device, context: ContextGroup | None
) -> tuple[Tensor, Tensor, ForestLayout]:
    """Return the tokens of a forest that are computed here, their positions, and the layout."""
    ids, positions = torch.from_numpy(pack.input_ids), torch.from_numpy(pack.position_ids)
    until = torch.from_numpy(pack.visible_until)
    if context is None:
        return ids, positions, ForestLayout(until, device)
    share = context.share(pack.tokens)
    more = (0, share.tokens - pack.tokens)
    until = torch.cat([until, torch.arange(pack.tokens, share.tokens) + 1])  # see themselves only
    ids, positions = (nn.functional.pad(part, more)[share.own] for part in (ids, positions))
    return ids, positions, ForestLayout(until, device, share)
