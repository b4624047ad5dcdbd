"""The units of a text that carry its content, for asking what one text takes from another."""

from __future__ import annotations

from collections.abc import Sequence
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


def content_units(units: Sequence[str]) -> list[tuple[str, int]]:
    """Return what carries content among units, with where it stands.

    A word of four letters or more that is no function word, a number, and a pair of neighbouring
    characters of a script without spaces, neither of which is a function word.

    Args:
        units: Of folded text.

    Example:
        >>> content_units(["what", "is", "the", "capital", "of", "france"])
        [('capital', 3), ('france', 5)]
        >>> content_units(["中", "国", "的", "河", "流"])
        [('中国', 0), ('河流', 3)]
    """
    found = []
    for place, (unit, following) in enumerate(pairwise((*units, ""))):
        if len(unit) > 1:
            if (len(unit) >= LEAST_LETTERS and unit not in _STOPPED) or unit.isdigit():
                found.append((unit, place))
        elif (
            len(following) == 1
            and unit > "\u2e7f"
            and following > "\u2e7f"
            and unit not in _FUNCTION_CHARACTERS
            and following not in _FUNCTION_CHARACTERS
        ):
            found.append((unit + following, place))
    return found


def content_set(units: Sequence[str]) -> frozenset[str]:
    """Return what carries content among units, without places."""
    return frozenset(unit for unit, _ in content_units(units))
