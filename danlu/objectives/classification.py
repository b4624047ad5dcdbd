"""Classification of texts: a readout head says the class, or the classes, of each branch.

Prompts that begin alike, as those of one task do, share their beginning in the forest. Loss,
weights and F1 are those of ``danlu.objectives.classify``. What a metric is made of are counts,
summed over steps and processes; no score of a batch is ever averaged.

Shapes: A branches, one a record; C classes; K channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from danlu.objectives.classify import Classify, macro_f1, micro_f1
from danlu.objectives.objective import Floats, Reads, ratio
from danlu.objectives.predictions import ChannelSums, Predictions
from danlu.sequences.branch import Branch


@dataclass(frozen=True, eq=False)
class Classification:
    """A classification objective; made whole by ``fitted``, once the classes are known.

    Attributes:
        classify: The loss of a record.
        classes: The classes' names, in the order of the head's numbers.
        weights_2C: Weight of each class where it is not a record's, and where it is.
    """

    reads: ClassVar[Reads] = "classes"
    needs_reference: ClassVar[bool] = False
    needs_baseline: ClassVar[bool] = False
    whole_records: ClassVar[bool] = False

    classify: Classify
    classes: tuple[str, ...] = ()
    weights_2C: NDArray[np.float32] | None = None

    @property
    def readout(self) -> int:
        """How many numbers it reads: one per class."""
        return len(self.classes)

    def fitted(
        self, classes: Sequence[str], counts_C: NDArray[np.int64], records: int
    ) -> Classification:
        """Return the objective for these classes.

        Args:
            classes: Their names.
            counts_C: How many training records are of each.
            records: How many training records there are.
        """
        return Classification(
            self.classify, tuple(classes), self.classify.weights(counts_C, records)
        )

    def divisor(self, branches: Sequence[Branch]) -> float:
        """Return the sum of the weights of the records' labels."""
        assert self.weights_2C is not None
        absent, there = self.weights_2C.astype(np.float64)
        if not self.classify.multi_label:
            return float(sum(there[branch.classes[0]] for branch in branches))
        gain = there - absent
        own = sum(float(gain[list(branch.classes)].sum()) for branch in branches)
        return len(branches) * float(absent.sum()) + own

    def sums(self, predictions: Predictions) -> ChannelSums:
        """Score a pack.

        Raises:
            ValueError: If there is no readout head, or the classes are not known.
        """
        answers = predictions.answers
        if answers.readout is None or answers.classes is None or self.weights_2C is None:
            raise ValueError("classification needs a readout head and the classes of each record")
        true_AC = answers.classes
        weights_2C = torch.from_numpy(self.weights_2C).to(answers.readout.device)
        terms = self.classify.terms(answers.readout, true_AC, weights_2C)
        one_A = torch.ones_like(terms.loss_N)
        total = predictions.by_channel
        return ChannelSums(
            terms.loss_N.sum(),
            {
                "loss": total(terms.loss_N),
                "weight": total(terms.weight_N),
                "records": total(one_A),
                "correct": total((terms.said_NC == true_AC).all(1)),
                "hits": total(terms.said_NC & true_AC),
                "said": total(terms.said_NC),
                "true": total(true_AC),
                "tokens": total(one_A),  # a label is one prediction
            },
        )

    def metrics(self, totals: Mapping[str, Floats]) -> dict[str, Floats]:
        """Return loss, accuracy (all classes of a record right), macro F1, and micro F1.

        Micro F1 is told with ``multi_label`` only: with one class per record it is the accuracy.
        """
        counts = (totals["hits"], totals["said"], totals["true"])
        told = {
            "loss": ratio(totals, "loss", "weight"),
            "accuracy": ratio(totals, "correct", "records"),
            "macro_f1": macro_f1(*counts),
        }
        return {**told, "micro_f1": micro_f1(*counts)} if self.classify.multi_label else told
