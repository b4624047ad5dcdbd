"""Classification: the class, or the classes, that a text belongs to.

One class per record, softmax cross-entropy of the logits z that a readout head gives (y the class,
C classes, w class weights, e label smoothing):

    log p = log softmax(z)
    loss  = -(1 - e) w_y log p_y - (e / C) sum_c w_c log p_c

Any number of classes per record, binary cross-entropy per class (y_c is 1 or 0, s the sigmoid):

    t_c  = (1 - e) y_c + e / 2
    loss = -sum_c w_c(y_c) [t_c log s(z_c) + (1 - t_c) log(1 - s(z_c))]

Losses are summed and divided once by the sum of the weights, w_y or all w_c(y_c), as in PyTorch's
own ``cross_entropy`` with class weights. ``balanced`` weighs a class as though all were equally
frequent (King and Zeng 2001, "Logistic Regression in Rare Events Data"): N / (C n_c) for n_c of N
records; with many classes per record, each class against its absence: N / (2 n_c) where it is
there, N / (2 (N - n_c)) where it is not. A count of 0 is taken for 1.

F1 of a class is 2 hits / (said + true): records of the class that were found, records said to be
of it, records of it. Macro F1 is the mean over the classes that occur, among the labels or among
what was said; one that occurs in neither has no F1 and is left out, as with scikit-learn's
``f1_score(average="macro", zero_division=nan)``. Micro F1 is F1 of the sums over all classes.

Shapes: N records, C classes; ``…`` task types or none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from danlu.errors import RecipeError
from danlu.objectives.limits import check_choice, check_number, widened

Floats = NDArray[np.float64]


class ClassTerms(NamedTuple):
    """Numbers per record; all but the loss are detached.

    Attributes:
        loss_N: Differentiable.
        weight_N: What the sum of the losses is divided by, summed likewise.
        said_NC: bool: the classes that the model says.
    """

    loss_N: Tensor
    weight_N: Tensor
    said_NC: Tensor


@dataclass(frozen=True)
class Classify:
    """Say which class, or which classes, a text belongs to.

    Attributes:
        classes: Their names; None finds them in the training data.
        multi_label: A record has any number of classes, not exactly one.
        threshold: With ``multi_label``: a class is said where its probability is at least this.
        class_weights: ``none``, or ``balanced``: rare classes weigh as much as common ones.
        label_smoothing: Share of a label that is spread over all classes; 0.1 is the value of
            Szegedy et al. 2015, arXiv:1512.00567.
        label_separator: With ``multi_label``: what stands between classes written in one text.
        pooling: Which hidden state of an encoder is read: of the ``first`` token (Devlin et al.
            2018, arXiv:1810.04805), or the ``mean`` of all; a decoder is read at its ``last``.
            ``auto`` is first for encoders and last for decoders.

    Raises:
        RecipeError: If a setting is out of its limits.

    Example:
        >>> logits, labels = torch.zeros(1, 4), torch.tensor([[True, False, False, False]])
        >>> Classify().terms(logits, labels, torch.ones(2, 4)).loss_N
        tensor([1.3863])
    """

    classes: tuple[str, ...] | None = None
    multi_label: bool = False
    threshold: float = 0.5
    class_weights: Literal["none", "balanced"] = "none"
    label_smoothing: float = 0.0
    label_separator: str = ","
    pooling: Literal["auto", "first", "last", "mean"] = "auto"

    def __post_init__(self) -> None:
        if self.classes is not None:
            object.__setattr__(self, "classes", tuple(self.classes))
            self._check_classes(self.classes)
        check_number("threshold", self.threshold, "0.5 is usual.", above=0, below=1)
        check_choice("class_weights", self.class_weights, ("none", "balanced"))
        remedy = "0 leaves it out, 0.1 is usual."
        check_number("label_smoothing", self.label_smoothing, remedy, least=0, below=1)
        check_choice("pooling", self.pooling, ("auto", "first", "last", "mean"))
        if not self.label_separator:
            raise RecipeError("is empty; ',' is usual.", where="objective.label_separator")

    def _check_classes(self, classes: tuple[str, ...]) -> None:
        for name in classes:
            if not name.strip() or name != name.strip():
                raise RecipeError(
                    f"{name!r} is no name of a class: labels are read without spaces around them.",
                    where="objective.classes",
                )
            if classes.count(name) > 1:
                raise RecipeError(f"{name!r} is named twice.", where="objective.classes")
        if len(classes) < (1 if self.multi_label else 2):
            raise RecipeError(
                f"names {len(classes)} of the classes; there must be at least two to choose from.",
                where="objective.classes",
            )

    def weights(self, counts_C: NDArray[np.int64], records: int) -> NDArray[np.float32]:
        """Return the weight of each class where it is not and where it is, ``(2, C)``.

        Args:
            counts_C: How many training records are of each class.
            records: How many training records there are.

        Example:
            >>> Classify(class_weights="balanced").weights(np.array([3, 1]), 4)[1].tolist()
            [0.6666666865348816, 2.0]
        """
        if self.class_weights == "none":
            return np.ones((2, len(counts_C)), np.float32)
        there = np.maximum(counts_C, 1)
        if not self.multi_label:
            balanced = records / (len(counts_C) * there)
            return np.stack([balanced, balanced]).astype(np.float32)
        absent = np.maximum(records - counts_C, 1)
        return np.stack([records / (2 * absent), records / (2 * there)]).astype(np.float32)

    def terms(self, logits_NC: Tensor, labels_NC: Tensor, weights_2C: Tensor) -> ClassTerms:
        """Score each record.

        Args:
            logits_NC: What the readout head says, differentiable.
            labels_NC: bool: the classes of each record; one each without ``multi_label``.
            weights_2C: From ``weights``: of classes that are not a record's, and of those that are.

        Raises:
            ValueError: If shapes differ, or a record has not exactly one class and must.
        """
        if logits_NC.shape != labels_NC.shape or weights_2C.shape != (2, logits_NC.shape[1]):
            raise ValueError(
                f"each record needs a logit and a label per class; shapes are "
                f"{tuple(logits_NC.shape)}, {tuple(labels_NC.shape)} and {tuple(weights_2C.shape)}"
            )
        logits_NC, smoothing = widened(logits_NC), self.label_smoothing
        weights_2C = weights_2C.to(logits_NC)
        if self.multi_label:
            weight_NC = torch.where(labels_NC, weights_2C[1], weights_2C[0])
            target_NC = labels_NC.to(logits_NC) * (1 - smoothing) + smoothing / 2
            loss_NC = functional.binary_cross_entropy_with_logits(
                logits_NC, target_NC, weight_NC, reduction="none"
            )
            said_NC = logits_NC.detach().sigmoid() >= self.threshold
            return ClassTerms(loss_NC.sum(1), weight_NC.sum(1), said_NC)
        if bool((labels_NC.sum(1) != 1).any()):
            raise ValueError("every record needs exactly one class; set multi_label for others")
        target_N = labels_NC.long().argmax(1)
        loss_N = functional.cross_entropy(
            logits_NC, target_N, weights_2C[1], reduction="none", label_smoothing=smoothing
        )
        said_N = logits_NC.detach().argmax(1)
        said_NC = functional.one_hot(said_N, logits_NC.shape[1]).bool()
        return ClassTerms(loss_N, weights_2C[1][target_N], said_NC)

    def probabilities(self, logits_NC: Tensor) -> Tensor:
        """Return the probability of each class, ``(N, C)``; without ``multi_label`` they sum to 1.

        Example:
            >>> Classify().probabilities(torch.zeros(1, 2))
            tensor([[0.5000, 0.5000]])
        """
        logits_NC = widened(logits_NC)
        return logits_NC.sigmoid() if self.multi_label else logits_NC.softmax(1)


def macro_f1(hits: Floats, said: Floats, true: Floats) -> Floats:
    """Return the mean F1 of the classes that occur, ``(…)``; NaN where none does.

    Args:
        hits: ``(…, C)``: records of each class that were found.
        said: ``(…, C)``: records said to be of it.
        true: ``(…, C)``: records of it.

    Example:
        Labels a a b, said a b b; c occurs in neither. F1 is 2/3, 2/3, none.

        >>> macro_f1(np.array([1, 1, 0]), np.array([1, 2, 0]), np.array([2, 1, 0])).round(4)
        np.float64(0.6667)
    """
    occurs = (said + true) > 0
    f1 = _divided(2 * np.asarray(hits, np.float64), said + true, otherwise=0.0)
    return _divided((f1 * occurs).sum(-1), occurs.sum(-1), otherwise=np.nan)


def micro_f1(hits: Floats, said: Floats, true: Floats) -> Floats:
    """Return F1 of the sums over all classes, ``(…)``; NaN where none occurs."""
    return _divided(2 * hits.sum(-1), said.sum(-1) + true.sum(-1), otherwise=np.nan)


def _divided(top: Floats, bottom: Floats, *, otherwise: float) -> Floats:
    top, bottom = np.asarray(top, np.float64), np.asarray(bottom, np.float64)
    found: Floats = np.divide(top, bottom, out=np.full_like(top, otherwise), where=bottom != 0)
    return found
