"""Templates that are served render in a process of their own: the same text, and nobody waits."""

from __future__ import annotations

import os
import signal
import threading
import time

import httpx2
import psutil
import pytest

from danlu.errors import TemplateError
from danlu.sequences.template import ChatTemplate
from danlu.serving.server.renderer import LONGEST_REFUSAL, Renderer, renderer_of
from tests.serving.server import serving, tiny_served

ASK = [{"role": "user", "content": "丹炉？\n\"'\\ 🔥"}]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
SLOW = (
    "{% if messages[0].content == 'slow' %}{% for a in range(100000) %}{% for b in range(100000) %}"
    "{% endfor %}{% endfor %}{% endif %}"
)


def pid(renderer):
    renderer.begin()
    return renderer._process.pid


@pytest.fixture
def plain():
    made = Renderer("{{ bos }}{{ messages[0].content }}", {"bos": "<s>"})
    yield made
    made.close()


def test_it_renders_what_the_template_renders(tiny_tokenizer):
    template = ChatTemplate.load(tiny_tokenizer)
    talk = [*ASK, {"role": "assistant", "content": "我叫丹炉。"}, *ASK]
    for messages, tools, goes_on in ((ASK, None, True), (talk, None, False), (talk, TOOLS, True)):
        expected = template.render_plain(messages, tools, goes_on)
        assert renderer_of(template).render(messages, tools, goes_on) == expected
    assert "丹炉？" in expected


def test_templates_that_are_alike_share_a_process(tiny_tokenizer, tokenizer_maker):
    one, same = ChatTemplate.load(tiny_tokenizer), ChatTemplate.load(tokenizer_maker())
    other = ChatTemplate.load(tiny_tokenizer, options={"x": 1})
    assert renderer_of(one) is renderer_of(same)
    assert renderer_of(one) is not renderer_of(other)


def test_what_a_template_refuses_is_told_in_its_words_but_not_at_any_length():
    refusing = Renderer("{{ raise_exception('不行' * 100000) }}", {})
    with pytest.raises(TemplateError, match="不行") as told:
        refusing.render(ASK, None, True)
    assert len(str(told.value)) == LONGEST_REFUSAL
    refusing.close()


def test_half_a_character_is_a_refusal_and_no_end():
    broken = Renderer("{{ '%c' % 55296 if messages[0].content == 'x' else 'whole' }}", {})
    with pytest.raises(TemplateError, match="surrogates not allowed"):
        broken.render([{"role": "user", "content": "x"}], None, True)
    assert broken.render(ASK, None, True) == "whole"
    broken.close()


def test_a_process_that_was_killed_is_started_again(plain):
    before = pid(plain)
    os.kill(before, signal.SIGKILL)
    assert plain.render(ASK, None, True) == "<s>" + ASK[0]["content"]
    assert pid(plain) != before


def test_a_process_that_does_not_answer_is_ended(plain, monkeypatch):
    stuck = pid(plain)
    os.kill(stuck, signal.SIGSTOP)
    monkeypatch.setattr(plain, "_patience_s", 0.2)
    with pytest.raises(TemplateError, match=r"was not done after 0.2 s, and was ended"):
        plain.render(ASK, None, True)
    assert not psutil.pid_exists(stuck)
    monkeypatch.undo()
    assert plain.render(ASK, None, True)


def test_the_process_ends_with_whoever_started_it(plain):
    process = psutil.Process(pid(plain))
    plain._wire.close()  # as the kernel does for one that was killed
    plain._process.wait(10)
    assert not process.is_running()


def test_a_template_that_takes_seconds_holds_nobody_else_up(tiny_tokenizer, tokenizer_maker):
    """Health and another model answer many times while one request renders for seconds."""
    own = tokenizer_maker()
    own.chat_template = SLOW + own.chat_template
    found: list[httpx2.Response] = []

    def ask(model, text):
        body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 1}
        return httpx2.post(f"{address}/v1/chat/completions", json=body, timeout=60)

    with serving(tiny_served(tiny_tokenizer, "good"), tiny_served(own, "slow")) as address:
        assert ask("good", "hi").status_code == ask("slow", "hi").status_code == 200
        slow = threading.Thread(target=lambda: found.append(ask("slow", "slow")))
        slow.start()
        waits = []
        while slow.is_alive():
            began = time.monotonic()
            assert httpx2.get(f"{address}/healthz", timeout=60).status_code == 200
            assert ask("good", "hi").status_code == 200
            waits.append(time.monotonic() - began)
            time.sleep(0.05)
        assert ask("slow", "hi").status_code == 200
    assert found[0].status_code == 400
    assert "was not done after 1 s of computing" in found[0].json()["error"]["message"]
    assert len(waits) >= 3
    assert sorted(waits)[len(waits) // 2] < 1
