"""A GGUF file asked through llama.cpp, in a process of its own: a broken file ends that, not us.

``python -m danlu.serving.llama_cpp`` reads one JSON object on stdin and prints one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from danlu.errors import ModelError
from danlu.serving.needs import must_have

_MARK = "danlu-answer:"


def ask(
    file: Path,
    prompts: list[dict[str, Any]],
    stop_ids: list[int],
    *,
    new_tokens: int = 16,
    threads: int = 1,
) -> dict[str, Any]:
    """Load a GGUF file and let it answer greedily.

    Args:
        file: The GGUF file.
        prompts: Each with ``messages``, ``tools``, ``text`` and ``token_ids``.
        stop_ids: Tokens to try: does generation end at each?
        new_tokens: Length of an answer at most.
        threads: Of llama.cpp.

    Returns:
        ``prompts``: each with ``text`` (as the file's template renders the messages; None where
        llama.cpp cannot, with ``error``), ``token_ids`` (as it cuts our text), ``answer`` (token
        ids) and ``logprobs`` (of each in nats, None where it tells none). ``stops``: for each stop
        token whether it ended.

    Raises:
        ModelError: If llama.cpp cannot load or answer.
    """
    must_have("xllamacpp", extra="gguf")
    longest = max((len(one["token_ids"]) for one in prompts), default=0) + new_tokens
    asked = {
        "file": str(file),
        "prompts": prompts,
        "stop_ids": stop_ids,
        "new_tokens": new_tokens,
        "threads": threads,
        "context": -(-(longest + 64) // 256) * 256,
    }
    done = subprocess.run(
        [sys.executable, "-m", "danlu.serving.llama_cpp"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    for line in done.stdout.splitlines():
        if line.startswith(_MARK):
            found: dict[str, Any] = json.loads(line.removeprefix(_MARK))
            return found
    said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()
    raise ModelError(
        f"llama.cpp cannot load or run this file (exit {done.returncode}). It said: "
        f"{' / '.join(said[-3:])}",
        where=str(file),
    )


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    import httpx2
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = asked["file"]
    params.n_ctx = asked["context"]
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = asked["threads"]
    params.n_gpu_layers = 0
    params.warmup = params.fit_params = False
    params.verbosity = 1
    server = xllamacpp.Server(params)
    with httpx2.Client(base_url=server.listening_address, timeout=600, trust_env=False) as client:
        return {
            "prompts": [_one(client, prompt, asked["new_tokens"]) for prompt in asked["prompts"]],
            "stops": [_ends(client, token_id) for token_id in asked["stop_ids"]],
        }


def _one(client: Any, prompt: dict[str, Any], new_tokens: int) -> dict[str, Any]:
    rendered = client.post(
        "/apply-template",
        json={"messages": prompt["messages"]}
        | ({"tools": prompt["tools"]} if prompt["tools"] else {}),
    )
    error = None if rendered.is_success else rendered.text
    cut = {"content": prompt["text"], "add_special": False, "parse_special": True}
    tokens = client.post("/tokenize", json=cut).raise_for_status().json()["tokens"]
    settings = {"n_predict": new_tokens, "temperature": 0, "top_k": 1, "n_probs": 1}
    settings |= {"prompt": prompt["token_ids"], "return_tokens": True, "cache_prompt": False}
    made = client.post("/completion", json=settings).raise_for_status().json()
    seen = made["completion_probabilities"]
    return {
        "text": None if error else rendered.json()["prompt"],
        "error": error,
        "token_ids": tokens,
        "answer": made["tokens"],
        "logprobs": aligned(made["tokens"], [(one["id"], one["logprob"]) for one in seen]),
    }


def aligned(token_ids: Sequence[int], seen: Sequence[tuple[int, float]]) -> list[float | None]:
    """Put log-probabilities beside their tokens.

    llama.cpp's server tells none for a token that ends within a character, as every first byte of a
    Chinese one may. What is told is matched from the left and from the right; where the two
    disagree, it is not known whose it is.

    Args:
        token_ids: All tokens of an answer.
        seen: Ids and log-probabilities of some of them, in order; the last may be the stop token.

    Returns:
        One per token, None where unknown.

    Example:
        >>> aligned([7, 8, 9, 9], [(7, -0.1), (9, -0.2)])
        [-0.1, None, None, None]
    """

    def places(ids: Sequence[int], wanted: Sequence[int]) -> list[int | None]:
        found: list[int | None] = []
        place = 0
        for one in wanted:
            while place < len(ids) and ids[place] != one:
                place += 1
            found.append(place if place < len(ids) else None)
            place += 1
        return found

    ids = [token_id for token_id, _ in seen]
    if ids and ids[-1] not in token_ids:
        ids.pop()  # the stop token is told and not answered
    left = places(token_ids, ids)
    right = places(token_ids[::-1], ids[::-1])[::-1]
    out: list[float | None] = [None] * len(token_ids)
    for a, b, (_, logprob) in zip(left, right, seen, strict=False):
        if a is not None and b is not None and a == len(token_ids) - 1 - b:
            out[a] = logprob
    return out


def _ends(client: Any, token_id: int) -> bool:
    """Make a token certain, and see whether it ends the answer."""
    settings = {"prompt": [token_id], "n_predict": 2, "temperature": 0, "cache_prompt": False}
    settings["logit_bias"] = [[token_id, 1e4]]
    made = client.post("/completion", json=settings).raise_for_status().json()
    return bool(made["stop_type"] == "eos")


if __name__ == "__main__":
    found = _answer(json.loads(sys.stdin.read()))
    # A leading line break: llama.cpp may have left a line open.
    sys.stdout.write(f"\n{_MARK}{json.dumps(found)}\n")
    sys.stdout.flush()
