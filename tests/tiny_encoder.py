"""A tiny BERT with random weights and its tokenizer, for tests of encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

WORDS = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]"),
    *("say", "furnace", "iron", "fire", "red", "hot", "name", "gold", "stone", "water", "wood"),
    *("metal", "earth", "is", "the", "a", "not", "?", "!", ".", "炉", "丹", "炼"),
]
CONTEXT = 24


def tiny_bert(*, seed: int = 0) -> Any:
    """A BERT of two layers, wide random weights, the same ones for the same seed."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=CONTEXT,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.3,
    )
    return BertModel(config, add_pooling_layer=False).eval()


def word_tokenizer() -> Any:
    """A WordPiece tokenizer of whole words, with BERT's special tokens and pairs."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    known = {word: number for number, word in enumerate(WORDS)}
    backend = Tokenizer(models.WordPiece(known, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", known["[CLS]"]), ("[SEP]", known["[SEP]"])]
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=ends,
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=CONTEXT,
    )


def save_tiny_bert(folder: Path) -> Path:
    """Write model and tokenizer to a folder."""
    tiny_bert(seed=3).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder
