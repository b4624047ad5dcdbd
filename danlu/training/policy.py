"""The policy: a model that answers, is measured on its answers, and learns from them.

The reference is the policy as the run begins. What moves is kept as it was and is put back for the
pass, which is exact under every tuning method: a new adapter begins as nothing, one that goes on
begins as it came, and of full tuning a whole copy is kept. Where weights are shared out, so is it.

Shapes: N answers, T their tokens one answer after another, S predictions of a pack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from danlu.models.adapters import unwrapped
from danlu.models.readout import Readout, ReadoutInfo
from danlu.objectives.policy import (
    Lessons,
    Measured,
    PolicyObjective,
    PolicyPredictions,
    answer_lengths,
    logprobs_and_entropy,
)
from danlu.sequences.branch import Branch
from danlu.sequences.forest import Pack
from danlu.training.devices import outside_steps
from danlu.training.scoring import Packing, ScoringModel
from danlu.training.shares import own_share, standing_in

CRITIC = "critic"
"""Folder of the critic, beside the adapter's or the model's files."""


class PolicyModel(nn.Module):
    """A model with what reinforcement adds: a critic, the reference, the price of KL.

    Dropout is switched off in it for good: the policy that is updated must be the one that sampled.

    Args:
        scoring: Model and objective, on their device, before anything is learned or restored.
        keep_reference: Keep what is needed to compute the reference.

    Attributes:
        has_reference: Whether the reference can be computed, once ``begin`` was called.
        kept: How many numbers are kept for it, over all processes that share them out.
    """

    def __init__(self, scoring: ScoringModel, *, keep_reference: bool) -> None:
        super().__init__()
        self.scoring = scoring
        self.critic = make_critic(scoring.model) if self.objective.critic else None
        # Moved by the controller, not by a gradient; a parameter, so that checkpoints keep it, and
        # no part of the module, so that no engine shares it out.
        self._price: list[nn.Parameter] = []
        if self.objective.adapts:
            price = torch.tensor(self.objective.kl_weight)
            self._price.append(nn.Parameter(price, requires_grad=False))
        self.has_reference = keep_reference
        self.kept = sum(part.numel() for part in self._moving()) if keep_reference else 0
        self._parts: list[nn.Parameter] = []
        self._began: list[Tensor] = []
        no_dropout(scoring.model)

    def begin(self) -> None:
        """Keep what the reference needs, where the engine has put it; before anything is learned.

        A run that goes on must call it before it restores its weights.
        """
        if self.has_reference:
            self._parts = self._moving()
            self._began = [own_share(part).clone() for part in self._parts]

    def _moving(self) -> list[nn.Parameter]:
        return [part for part in self.model.parameters() if part.requires_grad]

    @property
    def objective(self) -> PolicyObjective:
        """What is minimised."""
        return cast(PolicyObjective, self.scoring.objective)

    @property
    def model(self) -> Any:
        """The tuned model; a PEFT model or a plain one."""
        return self.scoring.model

    @property
    def kl_weight(self) -> float:
        """Price of a nat of KL to the reference in this step."""
        return float(self._price[0]) if self._price else self.objective.kl_weight

    def steer(self, measured_kl: float) -> None:
        """Set the price of the next step by what this step's answers have measured."""
        for price in self._price:
            price.fill_(self.objective.next_kl_weight(self.kl_weight, measured_kl))

    def own_parameters(self) -> dict[str, nn.Parameter]:
        """Return what moves besides the model, by name: the critic and an adaptive KL weight."""
        found = {} if self.critic is None else dict(self.critic.named_parameters(prefix=CRITIC))
        return {**found, "kl_weight": self._price[0]} if self._price else found

    def save_critic(self, folder: Path) -> None:
        """Write the critic, if there is one, beside the files of the adapter or the model."""
        if self.critic is not None:
            (folder / CRITIC).mkdir(exist_ok=True)
            self.critic.save(folder / CRITIC)

    def forward(
        self,
        pack: Pack | Callable[[PolicyModel], Any],
        branches: Sequence[Branch] = (),
        lessons: Lessons | None = None,
        offsets: NDArray[np.int64] | None = None,
    ) -> Any:
        """Score a pack of an update.

        Args:
            pack: A part of a minibatch; or any other work with this module, see ``ScoringModel``.
            branches: The minibatch's answers, which the pack's ``members`` point into.
            lessons: Of all tokens of the step.
            offsets: int64 ``(len(branches),)``: where the tokens of each begin in ``lessons``.

        Returns:
            ``ChannelSums``; or what the work returned.
        """
        if not isinstance(pack, Pack):
            return pack(self)
        assert lessons is not None
        assert offsets is not None
        predictions = self.scoring._predictions(pack, branches)
        places = self._places(pack, offsets).to(lessons.old_T.device)
        value_S = self._values(predictions.hidden_SD)
        return self.objective.sums(
            PolicyPredictions.of(predictions, lessons.select(places), value_S)
        )

    @torch.no_grad()
    def measure(
        self,
        model: nn.Module,
        branches: Sequence[Branch],
        packing: Packing,
        accelerator: Accelerator,
    ) -> Measured:
        """Measure sampled answers before they are learned, over all processes.

        Args:
            model: This module, as the engine has it.
            branches: Prompt and answer of each.
            packing: How they are laid out.
            accelerator: Devices and processes.
        """
        _, share = packing.dealt(branches, accelerator)
        lengths_N = answer_lengths(branches)
        offsets = np.cumsum(lengths_N) - lengths_N
        found = torch.zeros(4, int(lengths_N.sum()), device=accelerator.device)
        places = [self._places(pack, offsets).to(found.device) for pack in share]
        score = outside_steps(model, accelerator)
        was_training = model.training
        model.eval()
        # A context each: autocast keeps the weights that it has cast until it is left.
        with accelerator.autocast():
            for pack, place_S in zip(share, places, strict=True):
                told = score(partial(PolicyModel._told, pack=pack, branches=branches))
                for row, numbers_S in enumerate(told):
                    found[row, place_S] = numbers_S.float()
        if self.has_reference:
            with standing_in(model, self._parts, self._began), accelerator.autocast():
                for pack, place_S in zip(share, places, strict=True):
                    logprob_S = score(partial(PolicyModel._logprobs, pack=pack, branches=branches))
                    found[3, place_S] = logprob_S.float()
        model.train(was_training)
        reduced: Tensor = accelerator.reduce(found, reduction="sum")
        logprob_T, entropy_T, value_T, reference_T = reduced
        return Measured(
            logprob_T=logprob_T,
            entropy_T=entropy_T,
            value_T=None if self.critic is None else value_T,
            reference_T=reference_T if self.has_reference else None,
        )

    def _told(self, pack: Pack, branches: Sequence[Branch]) -> list[Tensor]:
        """Return ``(S,)`` log-probabilities, entropies, and values where there is a critic."""
        predictions = self.scoring._predictions(pack, branches)
        head, hidden_SD = predictions.token_head, predictions.hidden_SD
        told = list(logprobs_and_entropy(head, hidden_SD, predictions.target))
        value_S = self._values(hidden_SD)
        return told if value_S is None else [*told, value_S]

    def _logprobs(self, pack: Pack, branches: Sequence[Branch]) -> Tensor:
        return self.scoring._predictions(pack, branches).logprobs()

    def _places(self, pack: Pack, offsets: NDArray[np.int64]) -> Tensor:
        """Return where those predictions of a pack that are computed here lie among all tokens."""
        return torch.from_numpy(token_places(pack, offsets))[self.scoring.own(pack)]

    def _values(self, hidden_SD: Tensor) -> Tensor | None:
        if self.critic is None:
            return None
        read: Tensor = self.critic(hidden_SD)
        return read[:, 0]


def make_critic(model: Any) -> Readout:
    """Make a critic for a model, on its device; at first it says 0 of everything.

    Ouyang et al. 2022 begin with the reward model's weights. Here critic and policy share the
    model, and a random head would only make the first advantages noisy.
    """
    base = unwrapped(model)
    width = base.get_output_embeddings().weight.shape[1]
    critic = Readout(ReadoutInfo("reward", width, ("value",)))
    nn.init.zeros_(critic.linear.weight)
    return critic.to(base.device, torch.promote_types(base.dtype, torch.float32))


def no_dropout(model: nn.Module) -> None:
    """Switch a model's dropout off, in modules of its own and in attention."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0  # type: ignore[assignment]


def token_places(pack: Pack, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each prediction of a pack lies among the tokens of all answers, ``(S,)``.

    Args:
        pack: Its branches' predictions lie one branch after another, each in order.
        offsets: ``(N,)``: where the tokens of each branch begin.

    Example:
        >>> from danlu.sequences.forest import build_packs
        >>> weights = np.array([0, 0, 1, 1], np.float32)
        >>> ids = [np.array([5, 6, 8, 9], np.int32), np.array([5, 6, 7, 9], np.int32)]
        >>> two = [Branch(one, weights, 0, k, 0, 2) for k, one in enumerate(ids)]
        >>> [pack] = build_packs(two, 16)
        >>> pack.members.tolist(), token_places(pack, np.array([0, 2])).tolist()
        ([1, 0], [2, 3, 0, 1])
    """
    counts = np.bincount(pack.branch, minlength=len(pack.members))
    first = np.cumsum(counts) - counts
    within = np.arange(len(pack.branch)) - first[pack.branch]
    places: NDArray[np.int64] = offsets[pack.members[pack.branch]] + within
    return places
