"""Gradients added up in place are those that autograd makes."""

import pytest
import torch
from torch import nn

from danlu.models import products
from danlu.models.attention import ForestLayout
from danlu.models.chunked import summed_loss
from danlu.models.forest_support import use_forest_attention
from danlu.models.fused import fuse_layers
from danlu.models.fused.embedding import FusedEmbedding
from danlu.models.gradients import adds_in_place, gradients_in_place
from danlu.models.head import OutputHead
from tests.tiny_models import tiny_llama

IDS = torch.tensor([[5, 3, 3, 8, 0, 8, 3, 1, 7, 2]])
TARGET = torch.tensor([3, 3, 8, 0, 8])
WEIGHT = torch.tensor([1.0, 0.5, 2.0, 0.0, 1.5])


def learn(model: nn.Module, packs: int) -> None:
    """Add up the gradients of some packs, each another loss of the same tokens."""
    for number in range(1, packs + 1):
        states = model.get_decoder()(
            input_ids=IDS,
            use_cache=False,
            forest=ForestLayout(torch.full((10,), 10), IDS.device),
        ).last_hidden_state[0]
        nats, _ = OutputHead.of(model).weighted_nll(states[:5], TARGET, WEIGHT)
        (nats / number).backward()


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_gradients_are_autograds_over_packs_and_steps(tied, dtype, checkpointed, monkeypatch):
    monkeypatch.setattr(products, "LEAST_SIZE", 0)  # so that small layers are fused too
    model = tiny_llama(tie_word_embeddings=tied).to(dtype).train()
    assert use_forest_attention(model) is None
    fuse_layers(model)
    learn(model, packs=2)
    expected = gradients(model)
    model.zero_grad()
    if checkpointed:
        model.activation_checkpointing_enable({"use_reentrant": False})
    matrices = [p for p in model.parameters() if p.ndim == 2]
    with gradients_in_place(model.parameters()):
        assert all(adds_in_place(matrix) for matrix in matrices)
        for _ in range(2):  # what a step leaves behind is not in the next one's
            learn(model, packs=2)
            found = gradients(model)
            assert found.keys() == expected.keys()
            for name, gradient in expected.items():
                limit = gradient.abs().max() * (1e-4 if dtype == torch.float32 else 1e-10)
                assert (found[name] - gradient).abs().max() <= limit, name
            model.zero_grad()
            assert all(matrix.grad is None for matrix in matrices)
    assert not any(adds_in_place(matrix) for matrix in matrices)


def test_a_gradient_keeps_its_place():
    """The memory of a matrix's gradient is the same in every step, so packs do not part it."""
    model = tiny_llama().double().train()
    use_forest_attention(model)
    fuse_layers(model)
    head = model.get_output_embeddings().weight
    with gradients_in_place(model.parameters()):
        places = []
        for _ in range(2):
            learn(model, packs=1)
            places.append(head.grad.data_ptr())
            model.zero_grad()
    assert places[0] == places[1]


def test_a_matrix_without_part_in_the_loss_has_no_gradient():
    """Else the optimizer would decay it."""
    model = tiny_llama(tie_word_embeddings=False).train()
    use_forest_attention(model)
    fuse_layers(model)
    with gradients_in_place(model.parameters()):
        model.get_decoder()(
            input_ids=IDS, use_cache=False, forest=ForestLayout(torch.full((10,), 10), IDS.device)
        ).last_hidden_state.sum().backward()
        assert model.get_output_embeddings().weight.grad is None
        assert model.get_input_embeddings().weight.grad is not None


def test_a_padding_row_is_not_trained():
    torch.manual_seed(0)
    layer = nn.Embedding(9, 4, padding_idx=3)
    ids = torch.tensor([[3, 1, 1], [8, 3, 0]])
    slope = torch.randn(2, 3, 4)
    (layer(ids) * slope).sum().backward()
    expected, layer.weight.grad = layer.weight.grad, None
    part = FusedEmbedding.of(layer)
    with gradients_in_place([layer.weight]):
        (part(ids) * slope).sum().backward()
    assert not layer.weight.grad[3].any()
    torch.testing.assert_close(layer.weight.grad, expected)


@pytest.mark.parametrize(
    "options", [{"max_norm": 1.0}, {"scale_grad_by_freq": True}, {"sparse": True}]
)
def test_an_embedding_with_further_treatment_is_left_alone(options):
    assert FusedEmbedding.of(nn.Embedding(9, 4, **options)) is None


def test_a_loss_of_whole_distributions_gets_its_gradients_handed_over(monkeypatch):
    """It scales them, so nothing may have been added before."""
    monkeypatch.setattr(products, "LEAST_SIZE", 0)
    torch.manual_seed(0)
    head = OutputHead(nn.Linear(6, 11, bias=False), softcap=2.0)
    hidden_SD = torch.randn(5, 6, requires_grad=True)

    def gradient() -> torch.Tensor:
        head.module.weight.grad = None
        total, _ = summed_loss(
            head, hidden_SD, lambda logits, part: (logits.square().sum(), logits.detach()[:, :1].T)
        )
        (total * 0.5).backward()
        return head.module.weight.grad

    expected = gradient()
    fuse_layers(head.module)
    with gradients_in_place(head.module.parameters()):
        torch.testing.assert_close(gradient(), expected)
