"""Whether a foreign engine asks an exported model as it was trained.

Its endpoint is sent the golden prompts as conversations. Engines that show their tokens
(``/tokenize`` of vLLM, ``/apply-template`` and ``/tokenize`` of llama.cpp) are held to them token
by token; of others the number of tokens is known, which every OpenAI-compatible engine reports as
``usage.prompt_tokens``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import httpx2

from danlu.errors import DanluError
from danlu.sequences.golden import Golden, differences, read_golden

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TIMEOUT_S = 120

How = Literal["tokens", "count"]
"""What was compared: the tokens, or only how many there are."""


@dataclass(frozen=True)
class Verified:
    """What came of one golden prompt.

    Attributes:
        prompt: The last message of it.
        how: What was compared.
        difference: In words; empty if there is none.
        tools: Whether the prompt shows tools.
    """

    prompt: str
    how: How
    difference: str
    tools: bool = False


class _Endpoint:
    """An OpenAI-compatible server, by its address with or without ``/v1``."""

    def __init__(self, client: httpx2.Client, address: str, model: str | None) -> None:
        self._client = client
        self._root = address.rstrip("/").removesuffix("/v1")
        self.model = model or self._only_model()

    def prompt_tokens(self, golden: Golden) -> int:
        """Ask for one token of an answer, and return how many tokens the prompt had."""
        body = {"max_tokens": 1, "temperature": 0, **self._conversation(golden)}
        found = self._post("/v1/chat/completions", body, must=True)
        usage = (found or {}).get("usage") or {}
        if not isinstance(usage.get("prompt_tokens"), int):
            raise DanluError(
                "the server does not say how many tokens a prompt has (usage.prompt_tokens), so "
                "nothing can be compared.",
                where=self._root,
            )
        return int(usage["prompt_tokens"])

    def tokens(self, golden: Golden) -> list[int] | None:
        """Return the prompt's tokens, where the engine shows them."""
        found = self._post("/tokenize", self._conversation(golden))  # vLLM
        tokens = (found or {}).get("tokens")
        if found and "max_model_len" in found and isinstance(tokens, list):
            return [int(one) for one in tokens]
        rendered = self._post("/apply-template", self._conversation(golden))  # llama.cpp
        text = (rendered or {}).get("prompt")
        if not isinstance(text, str):
            return None
        body = {"content": text, "add_special": True, "parse_special": True}
        found = self._post("/tokenize", body)
        tokens = (found or {}).get("tokens")
        return [int(one) for one in tokens] if isinstance(tokens, list) else None

    def _conversation(self, golden: Golden) -> dict[str, Any]:
        tools = {"tools": golden.tools} if golden.tools else {}
        return {"model": self.model, "messages": golden.messages, **tools}

    def _only_model(self) -> str:
        found = self._client.get(f"{self._root}/v1/models")
        models = [one["id"] for one in found.json()["data"]] if found.status_code == 200 else []
        if len(models) != 1:
            raise DanluError(
                f"the server has {len(models)} models ({', '.join(models[:8])}): name one by "
                "--model.",
                where=self._root,
            )
        return str(models[0])

    def _post(
        self, path: str, body: Mapping[str, Any], *, must: bool = False
    ) -> dict[str, Any] | None:
        found = self._client.post(f"{self._root}{path}", json=body)
        if found.status_code == 200:
            return dict(found.json())
        if must:
            raise DanluError(
                f"the server answers {found.status_code}: {found.text[:300]}",
                where=f"{self._root}{path}",
            )
        return None


def verify_served(
    address: str,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    model: str | None = None,
    key: str | None = None,
) -> list[Verified]:
    """Hold a server to the golden prompts of a model.

    Args:
        address: Of the server, as ``http://127.0.0.1:8000/v1``.
        folder: Where the model was saved, with its golden prompts.
        tokenizer: To write tokens out.
        model: What the server calls it; None if it has only one.
        key: API key.

    Raises:
        DanluError: If the server cannot be asked, or the model has no golden prompts.
    """
    prompts, _ = read_golden(folder)
    if not prompts:
        raise DanluError(
            "this model has no golden prompts: it was saved by another program, or before they "
            "were kept. Save it again with danlu export.",
            where=str(folder),
        )
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with httpx2.Client(timeout=TIMEOUT_S, headers=headers) as client:
            endpoint = _Endpoint(client, address, model)
            return [_verified(endpoint, golden, tokenizer) for golden in prompts]
    except httpx2.HTTPError as error:
        raise DanluError(
            f"the server cannot be asked ({error}): is it running, and is this its address?",
            where=address,
        ) from error


def _verified(endpoint: _Endpoint, golden: Golden, tokenizer: PreTrainedTokenizerBase) -> Verified:
    asked = str(golden.messages[-1]["content"])
    tokens = endpoint.tokens(golden)
    if tokens is not None:
        found = next(differences(tokenizer, golden, None, tokens), "")
        return Verified(asked, "tokens", found, bool(golden.tools))
    count, expected = endpoint.prompt_tokens(golden), len(golden.token_ids)
    difference = ""
    if count != expected:
        difference = (
            f"the prompt for {asked!r} has {count} tokens there, and {expected} in training."
        )
    return Verified(asked, "count", difference, bool(golden.tools))
