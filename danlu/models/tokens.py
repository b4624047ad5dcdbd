"""New special tokens: added to the tokenizer, given rows in the model.

A new row starts as the mean of all the others, without noise: its logit is then the mean logit,
which lies far below those of likely tokens, so the model's other predictions hardly change.
Source: Hewitt 2021, "Initializing New Word Embeddings for Pretrained Language Models".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AddedToken, PreTrainedModel, PreTrainedTokenizerBase

from danlu.errors import RecipeError


def add_tokens(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> tuple[int, ...]:
    """Add special tokens to a tokenizer, in place.

    Args:
        tokenizer: Given the new tokens.
        tokens: Their texts, as in the recipe's ``model.new_tokens``.

    Returns:
        Their ids, in order.

    Raises:
        RecipeError: If one is empty, given twice, or already in the vocabulary.
    """
    known = tokenizer.get_vocab()
    for token in tokens:
        if not token.strip():
            raise RecipeError(f"{token!r} is no token: it is empty.", where="model.new_tokens")
        if tokens.count(token) > 1:
            raise RecipeError(f"{token!r} is given twice.", where="model.new_tokens")
        if token in known:
            raise RecipeError(
                f"{token!r} is already in the vocabulary, with id {known[token]}; leave it out.",
                where="model.new_tokens",
            )
    added = [AddedToken(token, special=True, normalized=False) for token in tokens]
    tokenizer.add_special_tokens(
        {"additional_special_tokens": added}, replace_extra_special_tokens=False
    )
    ids = tokenizer.convert_tokens_to_ids(list(tokens))
    assert isinstance(ids, list)
    return tuple(ids)


@torch.no_grad()
def grow_embeddings(model: PreTrainedModel, new_token_ids: Sequence[int]) -> None:
    """Give new tokens their rows in the input and output embeddings, in place.

    Where the matrix has spare rows (vocabularies are padded), these are used; otherwise it grows.
    Every row before the first new one counts in the mean.

    Args:
        model: A plain model, before tuning is applied.
        new_token_ids: As ``add_tokens`` returned them.
    """
    if not new_token_ids:
        return
    if max(new_token_ids) >= _matrices(model)[0].shape[0]:
        model.resize_token_embeddings(max(new_token_ids) + 1, mean_resizing=False)
    rows = list(new_token_ids)
    for matrix in _matrices(model):
        first = min(rows)
        mean = matrix[:first].mean(0, dtype=torch.promote_types(matrix.dtype, torch.float32))
        matrix[rows] = mean.to(matrix.dtype)


def is_tied(model: PreTrainedModel) -> bool:
    """Tell whether the input and output embeddings are one matrix."""
    return len(_modules(model)) == 2 and len(_matrices(model)) == 1


def token_indices(model: PreTrainedModel, new_token_ids: Sequence[int]) -> Any:
    """Return PEFT's ``trainable_token_indices`` for new tokens: their rows, and no others, train.

    For tied embeddings PEFT follows the tie by itself; otherwise both matrices are named.
    """
    if not new_token_ids:
        return None
    if is_tied(model):
        return list(new_token_ids)
    return {name: list(new_token_ids) for name in embedding_names(model)}


def embedding_names(model: PreTrainedModel) -> list[str]:
    """Return the last part of the module names of the input and output embeddings.

    Example:
        For Llama: ``["embed_tokens", "lm_head"]``
    """
    names = {id(module): name for name, module in model.named_modules()}
    return [names[id(module)].rsplit(".", 1)[-1] for module in _modules(model)]


def _modules(model: Any) -> list[Any]:
    """Return the input embedding and, where the model has one, the output head."""
    modules = (model.get_input_embeddings(), model.get_output_embeddings())
    return [module for module in modules if module is not None]


def _matrices(model: PreTrainedModel) -> list[torch.Tensor]:
    """Return the embedding matrices, input first; one of them if they are tied."""
    matrices = [module.weight for module in _modules(model)]
    return matrices[:1] if matrices[-1] is matrices[0] else matrices
