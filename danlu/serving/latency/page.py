"""``card.html``: the card as a page, one file that asks nothing of any server."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from danlu.serving.latency import show
from danlu.serving.latency.card import LatencyCard


def card_html(card: LatencyCard, picture: bytes) -> str:
    """Return the page; all text is escaped, and its content security policy runs nothing."""
    from jinja2 import Environment, StrictUndefined

    style = _text("danlu.runs", "assets/report.css") + _text(__package__ or "", "card.css")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_text(__package__ or "", "card.html")).render(
        card=card,
        style=style,
        style_digest=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        picture=base64.b64encode(picture).decode(),
        formulas=[show.formula(one) for one in card.targets],
        notes=show.notes(card),
        tables=[
            ("Time to the first token", show.FIRST_COLUMNS, show.first_rows(card)),
            ("Users at a time", show.LEVEL_COLUMNS, show.level_rows(card)),
            ("Requests that come by chance", show.ARRIVAL_COLUMNS, show.arrival_rows(card)),
        ],
    )


def _text(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text("utf-8")
