"""Engines in processes of their own: what they are started with, and that they always end."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx2
import psutil
import pytest

from danlu.errors import DanluError, ModelError, TemplateError
from danlu.sequences.golden import write_golden
from danlu.sequences.template import ChatTemplate
from danlu.serving.engines.child import Child
from danlu.serving.engines.start import EngineSettings, pick_engine, started
from danlu.serving.engines.vllm import vllm_plan, vllm_program
from danlu.serving.server.origin import Wanted
from tests.serving.server import serving
from tests.tiny_models import tiny_llama

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def base(tmp_path_factory, tiny_tokenizer):
    made = tmp_path_factory.mktemp("models") / "tiny"
    model = tiny_llama()
    model.generation_config.temperature = 0.3
    model.generation_config.do_sample = True
    model.save_pretrained(made)
    tiny_tokenizer.save_pretrained(made)
    write_golden(made, tiny_tokenizer, ChatTemplate.load(tiny_tokenizer))
    return made


@pytest.fixture(scope="module")
def adapters(base, tmp_path_factory, tiny_tokenizer):
    """Two LoRA adapters of one base, of ranks 4 and 12, as far as they are looked at."""
    folders = []
    for rank in (4, 12):
        folder = tmp_path_factory.mktemp("adapters") / f"r{rank}"
        tiny_tokenizer.save_pretrained(folder)
        write_golden(folder, tiny_tokenizer, ChatTemplate.load(tiny_tokenizer))
        about = {"peft_type": "LORA", "r": rank, "base_model_name_or_path": str(base)}
        (folder / "adapter_config.json").write_text(json.dumps(about))
        folders.append(folder)
    return folders


@pytest.fixture
def vllm(tmp_path, monkeypatch):
    """A program ``vllm`` on the PATH."""
    program = tmp_path / "bin" / "vllm"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m tests.serving.fake_vllm "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return program


def gone(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def wait_until(true, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_vllm_gets_the_template_the_stop_tokens_and_the_adapters(base, adapters, vllm):
    wanted = [Wanted("a", str(adapters[0])), Wanted("b", str(adapters[1]))]
    settings = EngineSettings("vllm", rows=8, options=("--gpu-memory-utilization", "0.5"))
    notes: list[str] = []
    with started(wanted, settings, notes.append) as (served, routed):
        assert served == []
        assert [(one.name, one.context_tokens) for one in routed] == [("a", 99), ("b", 99)]
        with serving(routed=routed) as address:
            body = {"model": "b", "messages": [{"role": "user", "content": "Hi"}]}
            found = httpx2.post(f"{address}/v1/chat/completions", json=body, timeout=30).json()
            seen = json.loads(found["choices"][0]["message"]["content"])
            assert httpx2.get(f"{address}/healthz").json()["models"] == ["a", "b"]
            assert "danlu-base" not in httpx2.get(f"{address}/v1/models").text
            psutil.Process(seen["pid"]).kill()
            wait_until(lambda: httpx2.get(f"{address}/healthz").status_code == 503)
            assert "engine behind a, b has ended" in httpx2.get(f"{address}/healthz").text
            lost = httpx2.post(f"{address}/v1/chat/completions", json=body, timeout=30)
            assert lost.status_code == 502
    assert notes == []
    arguments = seen["arguments"]
    text = " ".join(arguments)
    assert arguments[:2] == ["serve", str(base)]
    modules = " ".join(
        json.dumps({"name": name, "path": str(place)})
        for name, place in zip("ab", adapters, strict=True)
    )
    assert f"--max-lora-rank 16 --max-loras 2 --lora-modules {modules}" in text
    assert "--max-num-seqs 8" in text
    assert arguments[-2:] == ["--gpu-memory-utilization", "0.5"]  # the user's own come last
    assert seen["generation"] == {"eos_token_id": [2], "temperature": 0.3, "top_p": 0.95}
    assert "<|im_start|>" in seen["template"]


def test_vllm_ends_with_the_block_and_with_a_failing_check(base, vllm):
    wanted, notes = [Wanted("tiny", str(base))], []
    with started(wanted, EngineSettings("vllm"), notes.append) as (_, [model]):
        port = int(model.upstream.root.rpartition(":")[2])
        assert model.alive()
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"http://127.0.0.1:{port}/health")
    otherwise = EngineSettings("vllm", options=("--otherwise",))
    with (
        pytest.raises(
            TemplateError, match=r"tiny: its engine .* differs from token \d+ on: it was"
        ),
        started(wanted, otherwise, notes.append),
    ):
        pass


def test_what_vllm_says_when_it_fails_is_told(base, vllm):
    failing = EngineSettings("vllm", options=("--fail",))
    with (
        pytest.raises(ModelError, match=r"vLLM: ended while it started[\s\S]*CUDA out of memory"),
        started([Wanted("tiny", str(base))], failing, print),
    ):
        pass


def test_vllm_that_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(DanluError, match=r"vLLM is not installed.*pip install vllm"):
        vllm_program()


def test_what_vllm_cannot_take_is_refused(base, adapters, tmp_path):
    a, b = (Wanted(one.name, str(one)) for one in adapters)
    with pytest.raises(ModelError, match="one model, or with LoRA adapters of one base"):
        vllm_plan([a, Wanted("tiny", str(base))])
    about = json.loads((adapters[0] / "adapter_config.json").read_text())
    for change, text in (
        ({"use_dora": True}, "DoRA"),
        ({"lora_bias": True}, "biases"),
        ({"bias": "lora_only"}, "with biases"),
        ({"layer_replication": [[0, 2]]}, "repeated layers"),
        ({"rank_pattern": {"q_proj": 8}}, "ranks"),
        ({"alpha_pattern": {"q_proj": 8}}, "several ranks or scales"),
        ({"trainable_token_indices": [7]}, "new tokens"),
        ({"peft_type": "LN_TUNING"}, "LN_TUNING"),
        ({"modules_to_save": ["lm_head"]}, "whole layers"),
    ):
        other = tmp_path / text
        other.mkdir()
        for file in adapters[0].iterdir():
            (other / file.name).write_bytes(file.read_bytes())
        (other / "adapter_config.json").write_text(json.dumps({**about, **change}))
        with pytest.raises(ModelError, match=f"{text}.*danlu export RUN --merge"):
            vllm_plan([Wanted("x", str(other))])
    assert vllm_plan([a, b]).max_rank == 16
    assert vllm_plan([Wanted("tiny", str(base))]).adapters == ()


def test_the_engine_is_picked_by_what_is_served(base, tmp_path, monkeypatch):
    pytest.importorskip("xllamacpp", reason="the extra gguf is not installed")
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF....")
    folder, gguf = Wanted("tiny", str(base)), Wanted("m", str(file))
    assert pick_engine("auto", [gguf]) == "llama-cpp"
    assert pick_engine("auto", [folder]) == pick_engine("auto", [folder, gguf]) == "danlu"
    assert pick_engine("danlu", [gguf]) == "danlu"
    with pytest.raises(ModelError, match=r"tiny: llama\.cpp reads GGUF files"):
        pick_engine("llama-cpp", [folder])
    with pytest.raises(DanluError, match="Did you mean 'vllm'"):
        pick_engine("vlm", [folder])
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert pick_engine("auto", [gguf]) == "danlu"


@pytest.mark.parametrize(
    ("wanted", "settings", "text"),
    [
        ([], {}, "name a model or a run"),
        ([], {"engine": "vllm", "upstreams": ("x",)}, "the upstream is the engine"),
        (["tiny"], {"options": ("--x",)}, "--engine-option: engine danlu takes no such option"),
        (["tiny"], {"context_tokens": 9}, "--context: engine danlu takes"),
        ([], {"pooling": "last", "upstreams": ("x",)}, "--pooling: an upstream takes"),
        ([], {"trust_remote_code": True, "upstreams": ("x",)}, "--trust-remote-code: an upstream"),
        ([], {"device": "cpu", "upstreams": ("x",)}, "--device: an upstream takes"),
        ([], {"rows": 4, "upstreams": ("x",)}, "--side-by-side: an upstream takes"),
        (["tiny", "tiny"], {}, "two models have this name"),
    ],
)
def test_settings_that_exclude_each_other(base, wanted, settings, text):
    models = [Wanted(one, str(base)) for one in wanted]
    with (
        pytest.raises(DanluError, match=text),
        started(models, EngineSettings(**settings), print),
    ):
        pass


def test_a_broken_gguf_file_is_told_and_ends_nothing_else(tmp_path):
    pytest.importorskip("xllamacpp", reason="the extra gguf is not installed")
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF" + bytes(100))
    with (
        pytest.raises(ModelError, match=r"llama\.cpp for m: ended while it started"),
        started([Wanted("m", str(file))], EngineSettings(device="cpu"), print),
    ):
        pass


def test_a_child_ends_when_its_parent_is_killed(tmp_path):
    """A whole family of processes, and the parent gone without a word."""
    told = tmp_path / "pids"
    grandchild = "import time, os; print(os.getpid(), flush=True); time.sleep(600)"
    child = (
        "import subprocess, sys, os, time\n"
        f"p = subprocess.Popen([sys.executable, '-c', {grandchild!r}], stdout=subprocess.PIPE)\n"
        f"open({str(told)!r}, 'w').write(f'{{os.getpid()}} {{p.stdout.readline().decode()}}')\n"
        "time.sleep(600)\n"
    )
    parent = (
        "import sys, time\n"
        "from danlu.serving.engines.child import Child\n"
        f"kept = Child.kept('x', [sys.executable, '-c', {child!r}])\n"
        "time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", parent], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    wait_until(lambda: told.exists() and len(told.read_text().split()) == 2)
    pids = [int(one) for one in told.read_text().split()]
    assert not any(gone(pid) for pid in pids)
    process.kill()
    process.wait()
    wait_until(lambda: all(gone(pid) for pid in pids))


def test_a_child_that_is_never_ready_is_given_up():
    with (
        Child.kept(
            "x", [sys.executable, "-c", "import time; print('still loading'); time.sleep(600)"]
        ) as child,
        pytest.raises(ModelError, match=r"x: was not ready after 0\.1 s"),
    ):
        child.wait_until(lambda: False, 0.1)
    with pytest.raises(ModelError, match="x: cannot be started"):
        Child("x", ["/nowhere/at/all"])
