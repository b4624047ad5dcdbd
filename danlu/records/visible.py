"""Text that others wrote, as a terminal may show it."""

from __future__ import annotations

# Terminals act on control characters, and a model may write any: show pictures of them instead.
PICTURES: dict[int, str] = {
    code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"
}
PICTURES |= dict.fromkeys(range(0x7F, 0xA0), "␦")
# Marks that turn the order of writing around would show other words than those that are there.
PICTURES |= dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), "␦")


def visible(text: str) -> str:
    r"""Return text with pictures in place of what a terminal would obey.

    Line ends and tabs stay.

    Example:
        >>> visible("red: \x1b[31m, 返回\r\n")
        'red: ␛[31m, 返回␍\n'
    """
    return text.translate(PICTURES)
