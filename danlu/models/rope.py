"""Longer sequences: rotary positions scaled as a recipe says, in the model's own config.

A pair of dimensions i of d turns by ``base ** (-2 i / d)`` per token. A model that has seen L
positions fails beyond them, because its slow pairs reach angles that are new to it. With s times as
many positions:

* ``linear``: all pairs turn s times slower. Chen et al. 2023, arXiv:2306.15595.
* ``ntk``: another base, ``base * s ** (d / (d - 2))``: the slowest pair turns s times slower, the
  fastest as before. bloc97 2023, as given by Peng et al. 2023, arXiv:2309.00071, section 3.1.
* ``dynamic``: the same, with s grown to the longest sequence at hand.
* ``yarn``: pairs that turn often within L stay, slow ones turn s times slower, and queries and keys
  grow a little. arXiv:2309.00071, section 3.

transformers computes the frequencies from ``config.rope_parameters``; only ``ntk``, which it does
not have, is worked out here, as a base. What was asked for stands in the config as ``danlu_rope``
too, so that a saved model is not scaled twice; beside an adapter it is ``rope.json``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from danlu.config.recipe import RopeSection
from danlu.errors import ModelError, RecipeError
from danlu.models.source import read_json

WHERE = "model.rope"
MARK, FILE = "danlu_rope", "rope.json"


def scale_positions(config: Any, rope: RopeSection) -> None:
    """Write scaled positions into a model's config, in place; before the model is made of it.

    Args:
        config: A transformers config, of a text model or with one inside.
        rope: What is asked for; nothing is changed where it asks for nothing, or for what has been
            done already.

    Raises:
        ModelError: If the model has no rotary positions, several kinds of them, some that are
            scaled already, or no length that could be multiplied.
    """
    asked = rope.given()
    done = scaled_as(config)
    if not asked or done == asked:
        return
    text = config.get_text_config()
    own = getattr(text, "rope_parameters", None)
    if not own or "rope_theta" not in _flat(own):
        raise ModelError(
            f"{config.model_type} models have no rotary positions (RoPE), so there is nothing to "
            "scale: remove model.rope, and keep sequences.max_length within the model's length.",
            where=WHERE,
        )
    if any(isinstance(part, dict) for part in own.values()):
        raise ModelError(
            f"{config.model_type} models have different positions in different layers "
            f"({', '.join(own)}), which one setting cannot scale: remove model.rope.",
            where=WHERE,
        )
    if done is not None or (rope.type is not None and own.get("rope_type") != "default"):
        before = done or {name: own[name] for name in ("rope_type", "factor") if name in own}
        raise ModelError(
            f"the model's positions are scaled already ({_words(before)}): remove model.rope, or "
            "name the model that it was made from.",
            where=WHERE,
        )
    length = getattr(text, "max_position_embeddings", None)
    if not isinstance(length, int):
        raise ModelError(
            f"{config.model_type} models do not say how long their sequences may be, so nothing "
            "can be made longer: remove model.rope.",
            where=WHERE,
        )
    text.rope_parameters = _parameters(text, own, rope, length)
    if rope.type in (None, "ntk") and rope.factor is not None:
        # A base does not tell a length; the other types tell it by their factor.
        text.max_position_embeddings = int(length * rope.factor)
    setattr(text, MARK, asked)


def _parameters(text: Any, own: dict[str, Any], rope: RopeSection, length: int) -> dict[str, Any]:
    """Return ``rope_parameters`` as transformers 5 has them."""
    made = {**own, "rope_theta": rope.base or own["rope_theta"]}
    if rope.type == "ntk":
        assert rope.factor is not None
        made["rope_theta"] = ntk_base(own["rope_theta"], rope.factor, rotary_width(text))
    elif rope.type is not None:
        made |= {"rope_type": rope.type, "factor": rope.factor}
    if rope.type == "yarn":
        made["original_max_position_embeddings"] = length
        fine = ("beta_fast", "beta_slow", "attention_factor")
        made |= {name: value for name, value in rope.given().items() if name in fine}
    return made


def ntk_base(base: float, factor: float, width: int) -> float:
    """Return the base whose slowest pair turns ``factor`` times slower.

    The slowest of ``width`` dimensions turns by ``base ** (-(width - 2) / width)``.

    Example:
        >>> ntk_base(10000.0, 4.0, 4)  # times 4 ** (4 / 2): base ** -0.5 falls to a quarter
        160000.0
    """
    return float(base * factor ** (width / (width - 2)))


def rotary_width(text: Any) -> int:
    """Return how many dimensions of a head turn."""
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(head * (text.rope_parameters.get("partial_rotary_factor") or 1.0))


def scaled_as(config: Any) -> dict[str, Any] | None:
    """Return the settings that a model's positions were scaled by; None if Danlu did not."""
    kept = getattr(config.get_text_config(), MARK, None)
    return dict(kept) if kept else None


def context_length(config: Any) -> int | None:
    """Return how long sequences may be, in tokens; None if the config does not say.

    Of models that come with yarn the length is told by its factor; other programs leave
    ``max_position_embeddings`` as it was, and so does ``scale_positions``.
    """
    text = config.get_text_config()
    length = getattr(text, "max_position_embeddings", None)
    if not isinstance(length, int) or length <= 0:
        return None
    done = scaled_as(config)
    if done is not None:
        by_factor = done.get("type") in ("linear", "dynamic", "yarn")
        return int(length * done["factor"]) if by_factor else length
    rope = getattr(text, "rope_parameters", None) or {}
    trained, factor = rope.get("original_max_position_embeddings"), rope.get("factor")
    if rope.get("rope_type") == "yarn" and trained and factor:
        return max(length, int(trained * factor))
    return length


def length_notes(config: Any, max_length: int) -> list[str]:
    """Say that sequences may be longer than the model takes.

    Raises:
        RecipeError: If dynamic scaling would make a record's loss depend on its neighbours.
    """
    text = config.get_text_config()
    rope = getattr(text, "rope_parameters", None) or {}
    length = getattr(text, "max_position_embeddings", None)
    if rope.get("rope_type") == "dynamic" and isinstance(length, int) and max_length > length:
        raise RecipeError(
            f"is dynamic and sequences.max_length {max_length:,}: beyond the model's {length:,} "
            "tokens its frequencies follow the longest sequence computed at a time, so a record's "
            "loss would depend on its neighbours. Train with ntk or yarn, or with shorter "
            "sequences.",
            where=f"{WHERE}.type",
        )
    limit = context_length(config)
    if limit is None or max_length <= limit:
        return []
    remedy = "lower it"
    if rope and scaled_as(config) is None:
        remedy = f"set model.rope (type yarn, factor {-(-max_length // limit)}), or lower it"
    return [
        f"sequences.max_length is {max_length:,}, and the model takes {limit:,} tokens: beyond "
        f"them it is in positions it has never seen; {remedy}"
    ]


def note_rope(config: Any, folder: Path) -> None:
    """Write beside an adapter how its base's positions are scaled; nothing where they are not."""
    if (done := scaled_as(config)) is not None:
        (folder / FILE).write_text(json.dumps(done), "utf-8")


def adapter_rope(adapter: Path, asked: RopeSection | None = None) -> RopeSection | None:
    """Return how an adapter's base is to be scaled.

    Args:
        adapter: Its folder.
        asked: What a recipe asks for; an adapter trained on other positions cannot go with it.

    Raises:
        ModelError: If the recipe asks for something else.
    """
    wanted = asked.given() if asked is not None else {}
    if not (adapter / FILE).is_file():
        return asked
    kept = read_json(adapter / FILE)
    if wanted not in ({}, kept):
        raise ModelError(
            f"the adapter was trained with positions scaled otherwise ({_words(kept)}): remove "
            "model.rope, or begin from its base.",
            where=WHERE,
        )
    return RopeSection.model_validate(kept)


def _flat(own: dict[str, Any]) -> set[str]:
    """Return the names of all parameters, also of those given for kinds of layers."""
    inner = (name for part in own.values() if isinstance(part, dict) for name in part)
    return {*own, *inner}


def _words(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
