"""Reward models: scores that put the better answer first.

A pair is Bradley-Terry, with an optional margin m (Ouyang et al. 2022, arXiv:2203.02155, Eq. 1;
margin: Touvron et al. 2023, arXiv:2307.09288, Eq. 2):

    loss = -log s(score(chosen) - score(rejected) - m)

A ranked list is Plackett-Luce (Luce 1959; Plackett 1975): the best answer is chosen among all, the
next among those left, and so on to the last:

    loss = sum_i [log sum_{j = i or j worse than i} exp(score_j) - score_i]

A list of two is a pair: log(exp a + exp b) - a = -log s(a - b), and the last choice is free.
Margins are asked against each rival, as against the rejected answer of a pair (softmax-margin,
Gimpel and Smith 2010, aclanthology.org/N10-1112):

    loss = sum_i log[1 + sum_{j worse than i} exp(score_j + m_ij - score_i)]

Shapes: P pairs, N answers, G groups (lists).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from danlu.errors import TrainingError
from danlu.objectives.limits import check_choice, check_number, widened
from danlu.objectives.pairs import PairTerms, pair_terms


class ListTerms(NamedTuple):
    """Numbers per ranked list; all but the loss are detached.

    Attributes:
        loss_G: Differentiable: nats of the whole list.
        choices_G: How many of its answers were chosen among worse ones, at least 1: divide the
            loss by their sum to weigh choices alike, or by the number of lists to weigh lists.
        margin_G: Sum over its pairs of different rank of the better minus the worse score.
        correct_G: How many of these pairs have the better answer's score above the worse one's.
        pairs_G: How many there are.
    """

    loss_G: Tensor
    choices_G: Tensor
    margin_G: Tensor
    correct_G: Tensor
    pairs_G: Tensor


@dataclass(frozen=True)
class Reward:
    """Score answers so that better ones score higher.

    Attributes:
        margin_weight: Margin asked of a pair per point that its data scores differ by; 0 ignores
            data scores.
        centering: Weight of the squared sum of a pair's scores (four times the squared mean of a
            list's), which fixes their otherwise free zero; 0 leaves it out, 0.01 is the value of
            Eisenstein et al. 2023, arXiv:2312.09244.
        ties: Answers of equal rank: ``refuse`` them, or ``allow`` them, and then they are not
            compared with each other, only with better and worse ones.

    Raises:
        RecipeError: If a setting is out of its limits.

    Example:
        >>> scores = torch.tensor([2.0, 0.0, 1.0])
        >>> group, rank = torch.tensor([0, 0, 0]), torch.tensor([1, 3, 2])
        >>> Reward().list_terms(scores, group, rank, groups=1).loss_G
        tensor([0.7209])
    """

    margin_weight: float = 0.0
    centering: float = 0.0
    ties: Literal["refuse", "allow"] = "refuse"

    def __post_init__(self) -> None:
        check_number("margin_weight", self.margin_weight, "0 ignores data scores.", least=0)
        check_number("centering", self.centering, "0.01 is usual, 0 leaves it out.", least=0)
        check_choice("ties", self.ties, ("refuse", "allow"))

    def pair_terms(
        self, chosen_P: Tensor, rejected_P: Tensor, score_gap_P: Tensor | None = None
    ) -> PairTerms:
        """Score each pair.

        Args:
            chosen_P: The model's score of the chosen answer, differentiable.
            rejected_P: That of the rejected one.
            score_gap_P: Chosen minus rejected score in the data, not negative; needed where
                ``margin_weight`` is above 0.

        Raises:
            ValueError: If shapes differ, or ``score_gap_P`` is missing.
            TrainingError: If a gap is negative or not finite: the data contradict themselves.
        """
        if chosen_P.shape != rejected_P.shape or chosen_P.dim() != 1:
            raise ValueError(
                "each pair needs two scores; shapes are "
                f"{tuple(chosen_P.shape)} and {tuple(rejected_P.shape)}"
            )
        chosen_P, rejected_P = widened(chosen_P), widened(rejected_P)
        gap_P = chosen_P - rejected_P
        if self.margin_weight:
            gap_P = gap_P - self.margin_weight * _checked_gaps(score_gap_P, gap_P)
        loss_P = -functional.logsigmoid(gap_P)
        if self.centering:
            loss_P = loss_P + self.centering * (chosen_P + rejected_P) ** 2
        return pair_terms(loss_P, chosen_P, rejected_P)

    def list_terms(
        self,
        scores_N: Tensor,
        group_N: Tensor,
        rank_N: Tensor,
        groups: int,
        data_score_N: Tensor | None = None,
    ) -> ListTerms:
        """Score each ranked list; answers may come in any order.

        Args:
            scores_N: The model's score of each answer, differentiable.
            group_N: int64: the list it belongs to, from 0 to ``groups - 1``.
            rank_N: Its rank in the list, 1 (or the least number) is the best; only order counts.
            groups: How many lists there are.
            data_score_N: Its score in the data; needed where ``margin_weight`` is above 0.

        Raises:
            ValueError: If shapes differ, or ``data_score_N`` is missing.
            TrainingError: If a list has tied ranks and ties are refused, or nothing to compare, or
                a data score is not finite or lower than that of a worse answer: the data contradict
                themselves.
        """
        if not scores_N.shape == group_N.shape == rank_N.shape or scores_N.dim() != 1:
            raise ValueError(
                "each answer needs a score, a group and a rank; shapes are "
                f"{tuple(scores_N.shape)}, {tuple(group_N.shape)} and {tuple(rank_N.shape)}"
            )
        # N answers of a micro-batch are hundreds: an N x N table is small, and needs no padding.
        same_NN = group_N.unsqueeze(1) == group_N.unsqueeze(0)
        worse_NN = same_NN & (rank_N.unsqueeze(0) > rank_N.unsqueeze(1))
        itself_NN = torch.eye(len(scores_N), dtype=torch.bool, device=scores_N.device)
        pairs_G = _group_sum(worse_NN.sum(1), group_N, groups)
        tied_NN = same_NN & ~itself_NN & (rank_N.unsqueeze(0) == rank_N.unsqueeze(1))
        self._check_lists(_group_sum(tied_NN.sum(1), group_N, groups), pairs_G)

        scores_N = widened(scores_N)
        behind_NN = scores_N.unsqueeze(0) - scores_N.unsqueeze(1)
        above_NN = -behind_NN.detach()
        if self.margin_weight:
            gap_NN = _checked_list_gaps(data_score_N, scores_N, group_N, worse_NN, groups)
            behind_NN = behind_NN + self.margin_weight * gap_NN
        rivals_NN = behind_NN.masked_fill(~(worse_NN | itself_NN), -torch.inf)
        loss_G = _group_sum(torch.logsumexp(rivals_NN, 1), group_N, groups)
        if self.centering:
            answers_G = _group_sum(torch.ones_like(scores_N), group_N, groups)
            mean_G = _group_sum(scores_N, group_N, groups) / answers_G
            loss_G = loss_G + 4 * self.centering * mean_G**2
        return ListTerms(
            loss_G=loss_G,
            choices_G=_group_sum(worse_NN.any(1), group_N, groups),
            margin_G=_group_sum((above_NN * worse_NN).sum(1), group_N, groups),
            correct_G=_group_sum((worse_NN & (above_NN > 0)).sum(1), group_N, groups),
            pairs_G=pairs_G,
        )

    def _check_lists(self, tied_G: Tensor, pairs_G: Tensor) -> None:
        tied = torch.nonzero(tied_G).flatten().tolist()
        if self.ties == "refuse" and tied:
            raise TrainingError(
                f"list {tied[0]} of {len(tied_G)} ranks answers equally. Give them different ranks,"
                " or set objective.ties to 'allow', which does not compare them with each other."
            )
        empty = torch.nonzero(pairs_G == 0).flatten().tolist()
        if empty:
            raise TrainingError(
                f"list {empty[0]} of {len(pairs_G)} has nothing to compare: it needs two answers "
                "of different rank. Add one, or remove the record."
            )


def _group_sum(values_N: Tensor, group_N: Tensor, groups: int) -> Tensor:
    values_N = values_N.long() if values_N.dtype == torch.bool else values_N
    return values_N.new_zeros(groups).index_add(0, group_N, values_N)


def _checked_gaps(score_gap_P: Tensor | None, like_P: Tensor) -> Tensor:
    if score_gap_P is None or score_gap_P.shape != like_P.shape:
        shape = None if score_gap_P is None else tuple(score_gap_P.shape)
        raise ValueError(f"margin_weight needs a data score gap per pair; its shape is {shape}")
    wrong = torch.nonzero(~((score_gap_P >= 0) & torch.isfinite(score_gap_P))).flatten().tolist()
    if wrong:
        raise TrainingError(
            f"pair {wrong[0]} of {len(score_gap_P)} has a data score gap of "
            f"{score_gap_P[wrong[0]].item()}: the chosen answer must score at least as high as the "
            "rejected one. Swap them, remove the pair, or set objective.margin_weight to 0."
        )
    return score_gap_P.to(like_P.dtype)


def _checked_list_gaps(
    data_score_N: Tensor | None, like_N: Tensor, group_N: Tensor, worse_NN: Tensor, groups: int
) -> Tensor:
    """Return by how much the data score of each answer, a row, is above that of each other."""
    if data_score_N is None or data_score_N.shape != like_N.shape:
        shape = None if data_score_N is None else tuple(data_score_N.shape)
        raise ValueError(f"margin_weight needs a data score per answer; its shape is {shape}")
    gap_NN = data_score_N.unsqueeze(1) - data_score_N.unsqueeze(0)
    wrong = torch.nonzero(worse_NN & ~((gap_NN >= 0) & torch.isfinite(gap_NN))).tolist()
    if wrong:
        better, worse = wrong[0]
        raise TrainingError(
            f"list {int(group_N[better])} of {groups} ranks an answer with the data score "
            f"{data_score_N[better].item()} above one with {data_score_N[worse].item()}; a better "
            "answer must score at least as high. Mend the ranks, remove the record, or set "
            "objective.margin_weight to 0."
        )
    return gap_NN.to(like_N.dtype)
