"""Rows of the embedding that train alone."""

import pytest
import torch
from torch import nn

from danlu.models.head import OutputHead
from danlu.models.token_rows import (
    TrainedRows,
    fold_rows,
    load_rows,
    rows_modules,
    save_rows,
    train_rows,
)
from tests.tiny_models import logits_of, tiny_llama


def test_an_embedding_takes_the_rows_for_its_own():
    matrix = nn.Embedding.from_pretrained(torch.arange(12.0).view(6, 2))
    rows = nn.Parameter(torch.tensor([[-1.0, -2.0], [-3.0, -4.0]]))
    module = TrainedRows(matrix, rows, torch.tensor([1, 4]))
    found = module(torch.tensor([[0, 1, 4], [5, 4, 3]]))
    expected = [[[0, 1], [-1, -2], [-3, -4]], [[10, 11], [-3, -4], [6, 7]]]
    assert found.tolist() == expected
    found.sum().backward()
    # Row 1 was read once, row 4 twice.
    assert rows.grad.tolist() == [[1, 1], [2, 2]]
    module.enabled = False
    assert module(torch.tensor([1])).tolist() == [[2, 3]]


@pytest.mark.parametrize("bias", [True, False])
def test_a_head_takes_the_rows_for_its_own(bias):
    head = nn.Linear(2, 4, bias=bias)
    rows = nn.Parameter(torch.randn(2, 2))
    module = TrainedRows(head, rows, torch.tensor([1, 3]))
    x = torch.randn(5, 2)
    weight = head.weight.detach().clone()
    weight[[1, 3]] = rows.detach()
    expected = nn.functional.linear(x, weight, head.bias)
    torch.testing.assert_close(module(x), expected)


def test_a_scaled_embedding_scales_them_too():
    matrix = nn.Embedding(4, 2)
    matrix.embed_scale = torch.tensor(3.0)
    module = TrainedRows(matrix, nn.Parameter(torch.ones(1, 2)), torch.tensor([2]))
    assert module(torch.tensor([2])).tolist() == [[3.0, 3.0]]


@pytest.mark.parametrize("tied", [True, False])
def test_rows_are_all_that_moves_and_fold_back(tied):
    model = tiny_llama(tie_word_embeddings=tied)
    model.requires_grad_(False)
    train_rows(model, [361, 360])
    moving = [part for part in model.parameters() if part.requires_grad]
    assert [tuple(part.shape) for part in moving] == [(2, 32)] * (1 if tied else 2)
    with torch.no_grad():
        for part in moving:
            part += torch.randn_like(part)
    ids = (5, 360, 42, 361)
    expected = logits_of(model, ids)
    assert not OutputHead.of(model).is_plain
    hidden = torch.randn(3, 32)
    head = OutputHead.of(model).logits(hidden)
    assert fold_rows(model) == [360, 361]
    assert fold_rows(model) == []
    torch.testing.assert_close(logits_of(model, ids), expected)
    torch.testing.assert_close(OutputHead.of(model).logits(hidden), head)
    assert isinstance(model.get_output_embeddings(), nn.Linear)
    assert (model.lm_head.weight is model.model.embed_tokens.weight) is tied


@pytest.mark.parametrize("tied", [True, False])
def test_later_tokens_join_those_that_train_already(tied):
    model = tiny_llama(tie_word_embeddings=tied).requires_grad_(False)
    train_rows(model, [360])
    with torch.no_grad():
        for module in rows_modules(model):
            module.rows += 1
    first = rows_modules(model)[0].rows[0].detach().clone()
    before = logits_of(model, (5, 360, 42))
    train_rows(model, [361, 362])
    assert rows_modules(model)[0].get_buffer("token_ids").tolist() == [360, 361, 362]
    assert torch.equal(rows_modules(model)[0].rows[0], first)
    torch.testing.assert_close(logits_of(model, (5, 360, 42))[..., :361], before)


@pytest.mark.parametrize("tied", [True, False])
def test_rows_come_back_from_the_disk(tmp_path, tied):
    model = tiny_llama(tie_word_embeddings=tied).requires_grad_(False)
    train_rows(model, [360, 361])
    with torch.no_grad():
        for module in rows_modules(model):
            module.rows += torch.randn_like(module.rows)
    save_rows(model, tmp_path)
    expected = logits_of(model, (5, 360, 361))
    for trainable in (True, False):
        again = tiny_llama(tie_word_embeddings=tied).requires_grad_(False)
        load_rows(again, tmp_path, trainable=trainable)
        torch.testing.assert_close(logits_of(again, (5, 360, 361)), expected)
        assert bool(rows_modules(again)) is trainable
        assert any(part.requires_grad for part in again.parameters()) is trainable


def test_a_model_without_such_rows_saves_none(tmp_path):
    save_rows(tiny_llama(), tmp_path)
    assert list(tmp_path.iterdir()) == []
    load_rows(tiny_llama(), tmp_path, trainable=True)
