"""Using a classifier: from the library and from the command line."""

from __future__ import annotations

import json

import pytest
import torch

import danlu
from danlu.cli.main import run
from danlu.errors import ModelError, RecordError
from danlu.models.readout import Readout, ReadoutInfo
from danlu.serving.classify import Classifier, load_classifier
from tests.tiny_encoder import save_tiny_bert, tiny_bert, word_tokenizer
from tests.tiny_models import tiny_llama

TEXTS = ["the fire is hot", "iron", ("gold", "is not red"), "water", "the fire is hot"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A classifier as a run saves it, of two classes."""
    place = tmp_path_factory.mktemp("saved") / "model"
    save_tiny_bert(place)
    torch.manual_seed(5)
    Readout(ReadoutInfo("classes", 32, ("no", "是"), pooling="first")).save(place)
    return place


def test_many_at_once_are_what_each_is_alone(folder):
    classifier = danlu.load_classifier(folder, device="cpu")
    together = classifier.classify_texts(TEXTS)
    for text, found in zip(TEXTS, together, strict=True):
        alone = classifier.classify(*([text] if isinstance(text, str) else text))
        assert found.classes == alone.classes
        assert found.id == alone.id
        assert found.probabilities == pytest.approx(alone.probabilities, abs=1e-6)
        assert sum(found.probabilities.values()) == pytest.approx(1)
        assert found.classes[0] == next(iter(found.probabilities))
    assert together[0].probabilities == pytest.approx(together[4].probabilities)
    assert len({round(one.probabilities["no"], 4) for one in together}) == 4


def test_a_decoder_reads_the_last_token_of_the_prompt(tiny_tokenizer):
    """Against transformers' own forward of the rendered prompt."""
    model, head = tiny_llama(seed=2), Readout(ReadoutInfo("classes", 32, ("a", "b", "c")))
    texts = ["Is it hot?", "Is it red?", "one"]
    prompts = [f"<|im_start|>user\n{t}<|im_end|>\n<|im_start|>assistant\n" for t in texts]
    expected = []
    with torch.no_grad():
        for prompt in prompts:
            ids = tiny_tokenizer(prompt, return_tensors="pt")["input_ids"]
            state = model.get_decoder()(input_ids=ids).last_hidden_state[0, -1]
            expected.append(head(state).softmax(0).tolist())
    classifier = Classifier(model, head, tiny_tokenizer)
    assert classifier.packing.forest
    found = classifier.classify_texts(texts)
    for one, own in zip(found, expected, strict=True):
        assert [one.probabilities[name] for name in "abc"] == pytest.approx(own, abs=1e-5)


def test_a_text_longer_than_the_model_reads_is_refused(folder):
    with pytest.raises(RecordError, match=r"the text has 62 tokens; at most 24 are read"):
        load_classifier(folder).classify("iron " * 60)


def test_what_is_no_classifier(tmp_path):
    with pytest.raises(ModelError, match="this is no classifier"):
        load_classifier("builtin:smollm2-135m-instruct")
    tiny_bert().save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    Readout(ReadoutInfo("reward", 32, ("reward",))).save(tmp_path)
    with pytest.raises(ModelError, match="its head reads reward, and no classes"):
        load_classifier(tmp_path)


def test_the_command_says_the_class_of_a_text(folder, capsys):
    assert run(["classify", str(folder), "--text", "the fire is hot"]) == 0
    said = capsys.readouterr().out
    expected = load_classifier(folder).classify("the fire is hot")
    assert said.startswith(f"{expected.classes[0]}  ({expected.classes[0]} 0.")
    assert run(["classify", str(folder), "--text", "gold", "--pair", "is not red", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == load_classifier(folder).classify("gold", "is not red").as_dict()


def test_the_command_reads_files_of_any_format(folder, capsys, tmp_path):
    file = tmp_path / "questions.jsonl"
    rows = [
        {"id": "one", "text": "the fire", "label": "no"},
        {"id": "two", "prompt": "the water", "completion": "是"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(["classify", str(folder), "--file", str(file), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["id"] for line in lines] == ["one", "two"]
    expected = load_classifier(folder).classify("the water")
    assert lines[1]["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
    assert run(["classify", str(folder), "--file", str(file)]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("one  ")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "give either --text or --file"),
        (["--text", "a", "--file", "b"], "give either --text or --file"),
        (["--file", "b", "--pair", "a"], "--pair goes with --text"),
        (["--file", "none.jsonl"], "none.jsonl"),
    ],
)
def test_the_command_says_what_is_wrong(folder, capsys, options, says):
    assert run(["classify", str(folder), *options]) == 2
    assert says in capsys.readouterr().err


def test_many_classes_or_none(tmp_path, capsys):
    save_tiny_bert(tmp_path)
    head = Readout(ReadoutInfo("classes", 32, ("a", "b"), "first", multi_label=True, threshold=0.7))
    with torch.no_grad():
        head.linear.weight.zero_()
        head.linear.bias.copy_(torch.tensor([3.0, 0.8]))  # sigmoid: 0.95 and 0.69
    head.save(tmp_path)
    found = load_classifier(tmp_path).classify("iron")
    assert found.classes == ("a",)
    assert found.as_dict()["classes"] == ["a"]
    assert found.probabilities == pytest.approx({"a": 0.9526, "b": 0.6900}, abs=1e-4)
    with torch.no_grad():
        head.linear.bias.copy_(torch.tensor([0.0, 0.0]))
    head.save(tmp_path)
    assert run(["classify", str(tmp_path), "--text", "iron"]) == 0
    assert capsys.readouterr().out.startswith("(none)  (")
