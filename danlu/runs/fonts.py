"""Fonts for pictures: the first one that has every character, and an honest name if none has."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

FILES = (
    "NotoSans-Regular.ttf",
    "DejaVuSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "NotoSansSC-Regular.otf",
    "NotoSansSC-Regular.ttf",
    "NotoSansSC-VF.ttf",
    "SourceHanSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "DroidSansFallback.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "STHeiti Light.ttc",
    "Arial Unicode.ttf",
    "msyh.ttc",
    "simhei.ttf",
    "segoeui.ttf",
)
"""Looked for by name in the system's font folders, after the one that Pillow brings along."""

NOT_A_CHARACTER = "\uffff"
"""Never in a font: drawn as the box that stands for a missing character."""


class Typeface:
    """Chooses a font per line of text.

    Attributes:
        illegible: How many names no font could write.
    """

    def __init__(self, files: tuple[str, ...] = FILES) -> None:
        self.illegible = 0
        self._files = files

    def font(self, text: str, size: int) -> FreeTypeFont:
        """Return a font that can write ``text``, or the default one if there is none."""
        return self._covering(text, size) or _load(None, size)

    def legible(self, name: str, otherwise: str) -> str:
        """Return ``name`` if a font can write it, else ``otherwise``, and count it."""
        if self._covering(name, 16) is not None:
            return name
        self.illegible += 1
        return otherwise

    def _covering(self, text: str, size: int) -> FreeTypeFont | None:
        for file in (None, *self._files):
            if _exists(file) and all(_has(file, character) for character in set(text)):
                return _load(file, size)
        return None


@cache
def _load(file: str | None, size: int) -> FreeTypeFont:
    from PIL import ImageFont

    if file is not None:
        return ImageFont.truetype(file, size)
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Given a size, Pillow loads no bitmap font.
    return font


@cache
def _exists(file: str | None) -> bool:
    try:
        _load(file, 16)
    except OSError:
        return False
    return True


@cache
def _has(file: str | None, character: str) -> bool:
    """Say whether a font has a character: whether it draws something else than the box."""
    if character.isspace():
        return True
    font = _load(file, 16)
    return bytes(font.getmask(character)) != bytes(font.getmask(NOT_A_CHARACTER))
