"""The teacher of a distillation: who it is, and what it says of a pack.

It is frozen, no part of the module that trains, and whole in every process. Each model is laid out
as it can be: a teacher that needs padded rows does not keep its student from the forest.

Shapes: S predictions of a pack, E the teacher's width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from danlu.config.recipe import Recipe
from danlu.errors import RecipeError
from danlu.models.context import ContextGroup
from danlu.models.forest_support import use_forest_attention
from danlu.models.fused import fuse_layers
from danlu.models.head import OutputHead
from danlu.models.load import load_config, load_model, load_tokenizer, pick_dtype
from danlu.objectives import Teacher
from danlu.sequences.branch import Branch
from danlu.sequences.forest import Pack
from danlu.training.scoring import Packing, token_states

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WHERE = "objective.teacher"


def must_name_teacher(recipe: Recipe) -> None:
    """Refuse a recipe without a teacher, before anything is made for it.

    Raises:
        RecipeError: If there is none.
    """
    if not recipe.objective.teacher:
        raise RecipeError(
            f"objective {recipe.objective.name} needs a model to learn from: a folder, a hub id, a "
            "run directory or builtin:NAME, with the same vocabulary as model.path.",
            where=WHERE,
        )


def shared_vocabulary(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many tokens student and teacher both know.

    Args:
        recipe: ``objective.teacher``.
        tokenizer: The student's, with any new tokens.

    Raises:
        RecipeError: If the teacher's vocabulary is another one.
        ModelError: If it has no tokenizer.
    """
    name = str(recipe.objective.teacher)
    theirs = load_tokenizer(name, trust_remote_code=recipe.model.trust_remote_code).get_vocab()
    own = tokenizer.get_vocab()
    if own == theirs:
        return max(own.values()) + 1
    remedy = (
        "model.new_tokens is not known to the teacher: leave it out, or tune the teacher with it."
        if recipe.model.new_tokens
        else "Take a teacher of the student's family; or learn its answers instead (sft)."
    )
    raise RecipeError(
        f"the teacher's vocabulary ({name}: {len(theirs):,} tokens) is not the student's "
        f"({recipe.model.tokenizer or recipe.model.path}: {len(own):,} tokens); "
        f"{_difference(own, theirs)}. Distributions over different tokens cannot be compared. "
        f"{remedy}",
        where=WHERE,
    )


def _difference(own: Mapping[str, int], theirs: Mapping[str, int]) -> str:
    """Name the first id that does not mean the same token."""
    here, there = ({number: token for token, number in one.items()} for one in (own, theirs))
    first = min(n for n in here.keys() | there.keys() if here.get(n) != there.get(n))

    def said(tokens: Mapping[int, str]) -> str:
        return repr(tokens[first]) if first in tokens else "no token"

    return f"id {first} is {said(there)} there and {said(here)} here"


@dataclass(frozen=True, eq=False)
class RunningTeacher:
    """A model that computes the packs of its student.

    Attributes:
        model: Frozen.
        head: Its output head.
        packing: How it is laid out where its student's packs do not suit it.
        vocabulary: How many tokens are compared.
        notes: What is to be said of it.
    """

    model: Any
    head: OutputHead
    packing: Packing
    vocabulary: int
    notes: tuple[str, ...] = ()

    @classmethod
    def load(
        cls, recipe: Recipe, vocabulary: int, pack_tokens: int, device: torch.device
    ) -> RunningTeacher:
        """Load the teacher in the number format of the student's computation.

        Raises:
            ModelError: As ``load_model``.
            RecipeError: If it lacks rows for the tokens.
        """
        model: Any = load_model(
            str(recipe.objective.teacher),
            dtype=pick_dtype(recipe.model.precision, device),
            device=device,
            trust_remote_code=recipe.model.trust_remote_code,
        )
        rows = model.get_output_embeddings().weight.shape[0]
        if rows < vocabulary:
            raise RecipeError(
                f"{recipe.objective.teacher} has rows for {rows:,} tokens, and its tokenizer "
                f"{vocabulary:,} tokens: it is not whole. Save it again with its embeddings grown.",
                where=WHERE,
            )
        model.requires_grad_(False)
        reason = "the recipe asks for rows" if recipe.model.attention == "rows" else None
        reason = reason or use_forest_attention(model)
        fuse_layers(model)
        notes = (f"the teacher is computed in padded rows: {reason}",) if reason else ()
        packing = Packing(pack_tokens, forest=reason is None)
        return cls(model, OutputHead.of(model), packing, vocabulary, notes)

    @torch.no_grad()
    def of(
        self, pack: Pack, branches: Sequence[Branch], context: ContextGroup | None = None
    ) -> Teacher:
        """Compute a pack; see ``Teaches``."""
        return Teacher((self._states(pack, branches, context), self.head), self.vocabulary)

    def _states(
        self, pack: Pack, branches: Sequence[Branch], context: ContextGroup | None
    ) -> Tensor:
        """Return the hidden state of each predictor, ``(S, E)``, or of each of one's own."""
        if not len(pack.predictor):
            width = self.model.get_output_embeddings().weight.shape[1]
            return torch.zeros(0, width, device=self.model.device, dtype=self.model.dtype)
        if self.packing.forest == (pack.row_lengths is None):
            return self._predictors(pack, context)
        own = [branches[index] for index in pack.members]
        found: list[Tensor | None] = [None] * len(own)
        for other in self.packing.packs(own):
            counts = np.bincount(other.branch, minlength=len(other.members)).tolist()
            states = self._predictors(other, None).split(counts)
            for member, part in zip(other.members, states, strict=True):
                found[member] = part
        states_SE = torch.cat([part for part in found if part is not None])
        if context is None:
            return states_SE
        return states_SE[(context.local(pack.predictor, pack.tokens) >= 0).to(states_SE.device)]

    def _predictors(self, pack: Pack, context: ContextGroup | None) -> Tensor:
        states_TE = token_states(self.model, pack, context)
        predictor = torch.from_numpy(pack.predictor)
        if context is not None:
            predictor = context.local(pack.predictor, pack.tokens)
        return states_TE[predictor[predictor >= 0].to(states_TE.device)]


def describe_padding(recipe: Recipe, teacher: RunningTeacher) -> list[str]:
    """Say that the models have different numbers of rows, where they have."""
    options: dict[str, Any] = {"trust_remote_code": recipe.model.trust_remote_code}
    own = load_config(recipe.model.path, **options).get_text_config().vocab_size
    theirs = teacher.model.get_output_embeddings().weight.shape[0]
    if own == theirs:
        return []
    return [
        f"student and teacher have the same {teacher.vocabulary:,} tokens, in {own:,} and "
        f"{theirs:,} rows: those behind are padding, and are not compared"
    ]
