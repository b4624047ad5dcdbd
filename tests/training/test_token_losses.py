"""Losses token by token are those of each branch asked alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from danlu.models.forest_support import use_forest_attention
from danlu.sequences.branch import Branch
from danlu.training.scoring import Packing
from danlu.training.token_losses import token_losses
from tests.tiny_models import tiny_llama


def branch(*ids: int, number: int = 0) -> Branch:
    weights = np.zeros(len(ids), np.float32)  # whatever they are
    return Branch(np.array(ids, np.int32), weights, 0, number, 0, 1)


@pytest.mark.parametrize(("forest", "tokens"), [(True, 100), (True, 6), (False, 100)])
def test_each_token_has_the_loss_of_the_branch_alone(forest: bool, tokens: int) -> None:
    branches = [branch(5, 9, 40, 7, 300), branch(5, 9, 41, 8, number=1), branch(3, number=2)]
    plain, model = tiny_llama(seed=4), tiny_llama(seed=4)
    if forest:
        assert use_forest_attention(model) is None
    found = token_losses(model, branches, Packing(tokens, forest=forest))
    for one, of in zip(branches, found, strict=True):
        ids = torch.from_numpy(one.input_ids).long()
        with torch.no_grad():
            logprobs = plain(input_ids=ids[None]).logits[0].log_softmax(-1)
        expected = -logprobs[:-1].gather(1, ids[1:, None])[:, 0]
        np.testing.assert_allclose(of.nats[1:], expected, rtol=2e-4, atol=2e-5)
        assert of.likeliest[1:].tolist() == logprobs[:-1].argmax(-1).tolist()
        np.testing.assert_allclose(
            of.probability[1:], logprobs[:-1].max(-1).values.exp(), rtol=2e-4
        )
        assert np.isnan(of.nats[0])
