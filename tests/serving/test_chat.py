"""A conversation: what the model is shown, and what stays of it."""

from types import SimpleNamespace

import pytest

import danlu
from danlu.errors import DanluError, ModelError, TemplateError
from danlu.generation import Sampling
from danlu.records.record import Message
from danlu.serving.chat import Chat, load
from danlu.serving.speakers import _speaker
from tests.tiny_models import tiny_llama


class Parrot:
    """Answers with what was said last, word by word, and remembers what it was shown."""

    def __init__(self):
        self.shown, self.seeds = [], []

    def stream(self, conversation, sampling):
        self.shown.append([(one.role, one.content) for one in conversation])
        self.seeds.append(sampling.seed)
        if conversation[-1].content == "fail":
            raise ModelError("too long")
        for word in conversation[-1].content.split():
            yield f"{word}!"


@pytest.fixture
def parrot():
    return Parrot()


def contents(chat):
    return [message.content for message in chat.history]


def test_the_history_grows_and_is_shown(parrot):
    chat = Chat(parrot, system="be brief", sampling=Sampling(seed=7))
    assert chat.chat("a b") == "a!b!"
    assert chat.chat("c") == "c!"
    system = ("system", "be brief")
    assert parrot.shown == [
        [system, ("user", "a b")],
        [system, ("user", "a b"), ("assistant", "a!b!"), ("user", "c")],
    ]
    assert parrot.seeds == [7, 8]
    assert chat.messages[0] == Message("system", "be brief")


def test_an_answer_stopped_halfway_stays_as_far_as_it_got(parrot):
    chat = Chat(parrot)
    stream = chat.stream("a b c")
    next(stream)
    stream.close()
    assert contents(chat) == ["a b c", "a!"]


def test_a_question_without_an_answer_does_not_stay(parrot):
    chat = Chat(parrot)
    chat.chat("a")
    with pytest.raises(ModelError):
        chat.chat("fail")
    chat.stream("never begun")
    assert contents(chat) == ["a", "a!"]


def test_an_empty_answer_is_an_answer(parrot):
    chat = Chat(parrot)
    assert chat.chat("") == ""
    assert contents(chat) == ["", ""]


def test_retry_undo_and_reset(parrot):
    chat = Chat(parrot, system="s")
    with pytest.raises(DanluError, match="nothing has been said"):
        list(chat.retry())
    assert not chat.undo()
    chat.chat("a")
    chat.chat("b")
    assert "".join(chat.retry()) == "b!"
    assert contents(chat) == ["a", "a!", "b", "b!"]
    assert len(set(parrot.seeds)) == 3
    assert chat.undo()
    assert contents(chat) == ["a", "a!"]
    chat.reset()
    assert chat.messages == [Message("system", "s")]


@pytest.fixture
def folder(tmp_path, tiny_tokenizer):
    tiny_llama().save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    return tmp_path


def test_a_model_is_loaded_by_its_name(folder):
    chat = danlu.load(folder, sampling=Sampling(max_new_tokens=5, greedy=True))
    assert isinstance(chat, danlu.Chat)
    answer = chat.chat("one")
    assert answer == load(folder, sampling=chat.sampling).chat("one")
    assert contents(chat) == ["one", answer]


def test_a_missing_template_is_told_before_the_weights_are_read(folder, tokenizer_maker):
    (folder / "model.safetensors").unlink()
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(TemplateError, match="no chat template"):
        load(folder)
    with pytest.raises(ModelError, match="no safetensors"):
        load(folder, template="chatml")


def test_an_encoder_is_not_talked_to_and_its_engine_ends():
    closed = []
    engine = SimpleNamespace(close=lambda: closed.append(True))
    with pytest.raises(ModelError, match="bert: is an encoder"):
        _speaker(SimpleNamespace(encodes=True, engine=engine, name="bert"))
    assert closed == [True]
