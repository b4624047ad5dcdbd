"""``danlu serve`` and ``danlu keys`` as typed: a real process, asked, and ended well."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import pytest

from danlu.cli.main import run
from danlu.sequences.golden import GOLDEN_FILE, write_golden
from danlu.sequences.template import ChatTemplate
from tests.tiny_models import tiny_llama

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path, tiny_tokenizer):
    made = tmp_path / "tiny"
    tiny_llama(seed=3).save_pretrained(made)
    tiny_tokenizer.save_pretrained(made)
    write_golden(made, tiny_tokenizer, ChatTemplate.load(tiny_tokenizer))
    return made


def test_serve_answers_and_lets_answers_end_on_sigterm(folder):
    process = subprocess.Popen(
        [sys.executable, "-m", "danlu", "serve", f"炉={folder}", "--port", "0"],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        encoding="utf-8",
    )
    try:
        said = process.stderr.readline()
        assert said.startswith("Serving 炉 at http://127.0.0.1:"), said
        address = said.split()[3]
        body = {"model": "炉", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 200}
        pieces = []
        began = threading.Event()

        def listen() -> None:
            asked = httpx2.stream(
                "POST", f"{address}/chat/completions", json={**body, "stream": True}, timeout=60
            )
            with asked as response:
                for line in response.iter_lines():
                    pieces.append(line)
                    began.set()

        thread = threading.Thread(target=listen)
        thread.start()
        assert began.wait(60)
        process.send_signal(signal.SIGTERM)
        thread.join(60)
        assert pieces[-2:] == ["data: [DONE]", ""]
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.stderr.close()
        process.wait()


def test_a_model_that_would_be_asked_otherwise_is_not_served(folder, capsys):
    about = json.loads((folder / GOLDEN_FILE).read_text())
    about["prompts"][0]["text"] = "<|im_start|>User"
    (folder / GOLDEN_FILE).write_text(json.dumps(about))
    assert run(["serve", str(folder), "--port", "0"]) == 2
    assert "would not be asked as it was trained" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nowhere"], "nowhere"),
        (["a=nowhere", "a=elsewhere"], "two models have this name"),
        (["nowhere", "--host", "0.0.0.0"], "no API keys are asked for"),
        (["nowhere", "--longest", "0"], "must be above 0"),
    ],
)
def test_mistakes_are_told_before_anything_is_loaded(arguments, text, capsys):
    assert run(["serve", *arguments, "--port", "0"]) == 2
    assert text in capsys.readouterr().err


def test_a_taken_port_is_told(folder, capsys):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert run(["serve", str(folder), "--port", port]) == 2
    assert "cannot listen there" in capsys.readouterr().err


def test_keys_are_made_listed_and_removed(tmp_path, capsys):
    file = ["--file", str(tmp_path / "keys.json")]
    assert run(["keys", "add", "办公室", *file]) == 0
    assert capsys.readouterr().out.startswith("sk-danlu-")
    assert run(["keys", "list", "--json", *file]) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["办公室"]
    assert run(["keys", "remove", "other", *file]) == 2
    assert "Keys: 办公室" in capsys.readouterr().err
    assert run(["keys", "remove", "办公室", *file]) == 0
    capsys.readouterr()
    assert run(["keys", "list", *file]) == 0
    assert capsys.readouterr().out.strip() == "no keys"
