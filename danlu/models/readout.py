"""A readout head: numbers from a hidden state, as a rule that of a branch's last token.

One number is a reward, several are the classes of a classifier. It is saved beside the adapter or
the weights as ``readout.safetensors``, with ``readout.json`` saying what it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from danlu.errors import ModelError

if TYPE_CHECKING:
    from danlu.sequences.forest import Pack

WEIGHTS, DESCRIPTION = "readout.safetensors", "readout.json"


Pooling = Literal["last", "first", "mean"]
"""Which hidden state is read: of the last token, of the first, or the mean of all."""


@dataclass(frozen=True)
class ReadoutInfo:
    """What a readout head is.

    Attributes:
        kind: What its numbers mean.
        width: Model width, D.
        names: What each number is called: ``reward``, or the classes.
        pooling: Which hidden state is read.
        multi_label: Whether a text has any number of classes, not exactly one.
        threshold: With ``multi_label``: a class is said from this probability on.
    """

    kind: Literal["reward", "classes"]
    width: int
    names: tuple[str, ...]
    pooling: Pooling = "last"
    multi_label: bool = False
    threshold: float = 0.5


class Readout(nn.Module):
    """A linear map from hidden states ``(…, D)`` to C numbers ``(…, C)``.

    Its weights begin small, normal with variance 1 / (D + 1), as in Ouyang et al. 2022,
    arXiv:2203.02155, and Stiennon et al. 2020, arXiv:2009.01325; its bias at 0.
    """

    def __init__(self, info: ReadoutInfo) -> None:
        super().__init__()
        self.info = info
        self.linear = nn.Linear(info.width, len(info.names))
        nn.init.normal_(self.linear.weight, std=(info.width + 1) ** -0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Read ``(…, C)`` off hidden states ``(…, D)``, in float32 or float64."""
        weight = self.linear.weight
        read: Tensor = self.linear(hidden.to(weight.dtype))
        return read

    def save(self, folder: Path) -> None:
        """Write the head into a folder that holds an adapter or a model."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.named_tensors()}
        save_file(tensors, folder / WEIGHTS)
        text = json.dumps(asdict(self.info), ensure_ascii=False, indent=1)
        (folder / DESCRIPTION).write_text(text + "\n", "utf-8")

    def named_tensors(self) -> Sequence[tuple[str, Tensor]]:
        """Return weight and bias by name."""
        return [("weight", self.linear.weight), ("bias", self.linear.bias)]

    @classmethod
    def load(cls, folder: Path, *, device: str | torch.device = "cpu") -> Self:
        """Read a head that ``save`` has written.

        Raises:
            ModelError: If there is none, or it cannot be read.
        """
        file = folder / DESCRIPTION
        if not file.is_file():
            raise ModelError(
                "this model has no readout head: it was not trained as a reward model or as a "
                "classifier. Train one with objective.name reward or classify.",
                where=str(folder),
            )
        about: dict[str, Any] = json.loads(file.read_text("utf-8"))
        head = cls(ReadoutInfo(**{**about, "names": tuple(about["names"])}))
        tensors = load_file(folder / WEIGHTS)
        with torch.no_grad():
            for name, value in head.named_tensors():
                value.copy_(tensors[name])
        return head.to(device)


def pooled(states_TD: Tensor, pack: Pack, pooling: Pooling) -> Tensor:
    """Take the hidden state that a head reads, of each branch of a pack, ``(A, D)``.

    Args:
        states_TD: Of each token of a forest, or each cell of padded rows.
        pack: The forest or the rows; ``first`` and ``mean`` need rows.
        pooling: Which to take.
    """
    if pooling == "last" or not len(pack.last):
        return states_TD[torch.from_numpy(pack.last).to(states_TD.device)]
    if pack.row_lengths is None:
        raise ValueError(f"pooling {pooling} needs rows: a forest is read at last tokens")
    states_AWD = states_TD.view(len(pack.row_lengths), -1, states_TD.shape[-1])
    if pooling == "first":
        return states_AWD[:, 0]
    lengths_A = torch.from_numpy(pack.row_lengths).to(states_TD.device)
    columns_W = torch.arange(states_AWD.shape[1], device=states_TD.device)
    mask_AW = columns_W[None] < lengths_A[:, None]
    total_AD = (states_AWD * mask_AW[..., None]).sum(1)
    return total_AD / lengths_A[:, None]


def has_readout(folder: Path) -> bool:
    """Whether a folder holds a readout head."""
    return (folder / DESCRIPTION).is_file()
