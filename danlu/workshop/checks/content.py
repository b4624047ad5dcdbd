"""The units of a text that carry its content, for asking what one text takes from another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from itertools import pairwise

# Written for this purpose: function words, and the words that prompts are made of.
_STOP_WORDS = """
about above after again against also although always among another answer because been before
being below between both cannot could does doing done down during each either else even ever
every following from further generate give given have having here hers himself however instead
into itself just less like made make many more most much must neither never none only other
others ours over please provide question rather same sentence shall should since some such
than that their them then there these they this those though through thus together too under
until upon very want were what when where whether which while will with within without would
write your yours
"""
_STOPPED = frozenset(_STOP_WORDS.split())
_FUNCTION_CHARACTERS = frozenset(
    "的了是在和与及或而但也都就还又很更最不没有个们这那其之以于为对从到由把被让使给请你我他她它您"
    "们什么怎样如何哪吗呢吧啊一些种可能会要能应该"
)
LEAST_LETTERS = 4
LATIN = "\u2e7f"
"""Characters behind this one are of scripts without spaces."""


def content_set(units: Sequence[str]) -> frozenset[str]:
    """Return what carries content among units.

    A word of four letters or more that is no function word, a number, and a pair of neighbouring
    characters of a script without spaces, neither of which is a function word.

    Args:
        units: Of folded text.

    Example:
        >>> sorted(content_set(["what", "is", "the", "capital", "of", "france"]))
        ['capital', 'france']
        >>> sorted(content_set(["中", "国", "的", "河", "流"]))
        ['中国', '河流']
    """
    different = set(units)
    found = {
        unit
        for unit in different
        if (len(unit) >= LEAST_LETTERS and unit not in _STOPPED)
        or (len(unit) > 1 and unit.isdigit())
    }
    if any(map(_BEYOND_LATIN, different)):
        marks = [_CHARACTERS[unit] if len(unit) == 1 else "" for unit in units]
        found.update(one + other for one, other in pairwise(marks) if one and other)
    return frozenset(found)


def content_places(units: Sequence[str], wanted: Set[str]) -> Iterator[tuple[str, int]]:
    """Yield what carries content among units, as far as it is wanted, with where it stands.

    Args:
        units: Of folded text.
        wanted: From ``content_set``.

    Example:
        >>> units = ["what", "is", "the", "capital", "of", "france"]
        >>> [*content_places(units, content_set(units))]
        [('capital', 3), ('france', 5)]
    """
    if not wanted:
        return
    for place, unit in enumerate(units):
        if unit in wanted and (len(unit) >= LEAST_LETTERS or unit.isdigit()):
            yield unit, place
    if any(map(_BEYOND_LATIN, wanted)):
        marks = [_CHARACTERS[unit] if len(unit) == 1 else "" for unit in units]
        for place, (one, other) in enumerate(pairwise(marks)):
            if one and other and one + other in wanted:
                yield one + other, place


class _Characters(dict[str, str]):
    """By character, itself if it is of a script without spaces and no function word; else nothing.

    It holds as many as there are characters.
    """

    def __missing__(self, character: str) -> str:
        is_content = character > LATIN and character not in _FUNCTION_CHARACTERS
        found = self[character] = character if is_content else ""
        return found


_CHARACTERS = _Characters()
_BEYOND_LATIN = LATIN.__lt__
