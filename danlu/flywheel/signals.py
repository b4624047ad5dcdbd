"""What users say after a bad answer and after a good one, in Chinese and English.

Judged from how a message begins, since a correction is said first; and only of messages that
follow an answer. Each expression has look-alikes that it must not take: 不对称加密 (asymmetric
encryption), "No problem, thanks".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import regex

from danlu.workshop.likeness.text import fold, units

# Beginnings, of folded text: small letters, simplified characters, narrow punctuation.
_BUT = r"(?:(?:but|sorry|hm+|well|actually|no|um+|and)[,.]? )*"
_VERY = r"(?:still |completely |totally |all |just |simply |also )*"
_WRONG_EN = (
    r"(?:no+|nope|nah)(?:[,.!;:—-]+ ?| i )"
    r"(?!problem|worries|thank|need|rush|more|other|further|matter|idea|doubt|way)",
    r"(?:no|nope)$",
    rf"{_BUT}(?:that's|this is|it's|that is|your answer is|you're|you are) {_VERY}"
    r"(?:not (?:right|correct|true|it|what i|the (?:right|question))|wrong|incorrect|mistaken)\b",
    r"(?:still )?(?:wrong|incorrect|not (?:quite )?(?:right|correct))"
    r"(?:[,.!;:—]|$| (?:again|answer|one)\b)",
    rf"{_BUT}i (?:meant|did ?n[o']t (?:ask|mean|say)|never (?:asked|said)|was asking)\b",
    rf"{_BUT}i (?:asked (?:for|about|you|how|what|why)|(?:already )?(?:said|told you))\b",
    r"(?:that's |this is )?not what i (?:asked|meant|wanted|said|was asking)\b",
    rf"{_BUT}you(?:'ve| have)? (?:mis(?:understood|read|interpreted)|got (?:it|that|this) wrong)\b",
    rf"{_BUT}you (?:did ?n[o']t (?:answer|understand|read|listen)|ignored|forgot|missed)\b",
    r"you (?:made (?:a|the same) (?:mistake|error)|keep (?:making|getting|saying|doing))\b",
    r"(?:please )?(?:try again|(?:read|answer) (?:my|the) question)\b",
    r"(?:that|this|it) (?:still )?(?:does ?n[o']t|did ?n[o']t) (?:answer|work|help|make sense)\b",
)
_WRONG_ZH = (
    r"不对(?![称等劲付口外内应号症]|于|的话|吗)",
    r"(?:并)?不是(?:[,。.!;\s]|$|这[个样意]|我[要想问说]|问|说)",
    r"(?:你|这|个|还是|又|怎么|全|完全|都|答案|回答)*(?:说|答|弄|搞|理解|算|写|翻译|记|看)?错(?:了|啦|误的)",
    r"错(?:[,。.!]|$)",
    r"你?(?:理解|搞|弄|听|看|读)错",
    r"我(?:的意思是|明明|都说了|没有?[说问]|(?:刚才|已经|想|要|是)?(?:是说|说的是|问的是|要的是|指的是|说过))",
    r"我是说",
    r"你?(?:答非所问|牛头不对马嘴|没有?(?:听懂|看懂|理解|回答|明白))",
    r"请?(?:重新|再)(?:回答|来一次|算|想|试|写一|看一?[下遍])",
    r"(?:还是|依然|仍然)(?:不对|不行|没用|错)",
    r"(?:根本|完全)(?:不是|没有|不对)",
    r"你?(?:胡说|瞎说|乱说)",
)
_THANKS = (
    r"\b(?:thanks?|thank you|thx|perfect|great|awesome|excellent|brilliant|wonderful|exactly)\b",
    r"\b(?:that (?:works|helped|helps|did it|solved it)|works (?:now|great|perfectly)|solved)\b",
    r"\b(?:much better|very helpful|well done|love it)\b",
    r"谢谢|感谢|多谢|太好了|太棒|很好|完美|可以了|解决了|搞定|明白了|懂了|有用|厉害|正是",
)
_NO_THANKS = (
    r"\bthank(?:s| you)\b[^.!?]*\b(?:but|for nothing)\b",
    r"\bnot (?:great|perfect|helpful|exactly|solved)\b|\bis ?n't (?:great|perfect|helpful)\b",
    r"(?:谢谢|感谢|很好)[^。.!?]*(?:但|不过|可是)|不(?:太|怎么|是很)?(?:完美|明白了|懂了|有用|很好)|没(?:有用|解决|明白|懂)",
)

WRONG = regex.compile("|".join((*_WRONG_EN, *_WRONG_ZH)))
THANKS, NO_THANKS = regex.compile("|".join(_THANKS)), regex.compile("|".join(_NO_THANKS))

LEAST_REPEATED = 4
"""Units of a question below which asking it twice says nothing (好的, "go on")."""
MOST_ADDED = 4
"""Units that may be added when a question is asked again."""


def says_wrong(text: str, more: Sequence[str] = ()) -> str | None:
    """Return the words by which a message says that the answer before it was wrong.

    Args:
        text: What the user said after an answer.
        more: Further regular expressions, looked for anywhere in the message.

    Example:
        >>> says_wrong("不对，我问的是上海"), says_wrong("No, I meant the island.")
        ('不对', 'no,')
        >>> says_wrong("不对称加密是什么？"), says_wrong("No problem, thanks!")
        (None, None)
    """
    if found := WRONG.match(_plain(text)):
        return str(found[0]).strip()
    for pattern in more:
        if found := regex.search(pattern, text):
            return str(found[0])
    return None


def says_thanks(text: str) -> str | None:
    """Return the words by which a message says that an answer was good.

    Example:
        >>> says_thanks("太好了，谢谢！"), says_thanks("Thanks, but that's wrong")
        ('太好了', None)
    """
    plain = _plain(text)
    if WRONG.match(plain) or NO_THANKS.search(plain):
        return None
    found = THANKS.search(plain)
    return str(found[0]) if found else None


def _plain(text: str) -> str:
    return fold(text.replace("’", "'"))


def asks_again(before: str, after: str) -> bool:
    """Whether a question is the one before, perhaps in another order or with a few words more.

    Questions that differ in one word ask for something else, however alike they are.

    Example:
        >>> asks_again("上海今天的天气怎么样", "我问上海今天的天气怎么样？？")
        True
        >>> asks_again("What is the capital of Austria?", "What is the capital of Australia?")
        False
    """
    first, second = Counter(units(fold(before))), Counter(units(fold(after)))
    if first.total() < LEAST_REPEATED or first - second:
        return False
    return second.total() - first.total() <= min(MOST_ADDED, first.total())
