"""Ranked answers to letters of some 300 tokens, made from templates.

Every letter begins with a sentence of its own, so that what is shared is a letter between its
answers, and hardly anything between letters.
"""

from __future__ import annotations

import random

from danlu.records import Message, Record, Response

SENTENCES = 12
"""Of a letter: with the names filled in some 300 tokens."""

_OPENINGS = (
    "{name} here, and I am writing about the {thing} that we fetched from you on {day}.",
    "It is about booking {number}, a {thing} for {name}, which you should have on {day}.",
    "Perhaps you remember me: {name}, the one who came on {day} to look at the {thing}.",
    "We are a group around {name} and had your {thing} on {day}, under booking {number}.",
)
_MIDDLES = (
    "The ride itself was long, some {number} metres uphill in all, and my knees still tell me so.",
    "At the station by the canal nobody was there, so I waited until {name} came by and helped me.",
    "The display showed {number} when we left, and I do not know what that number should mean.",
    "My neighbour {name} says that with such a {thing} one has to be careful when roads are wet.",
    "We had to be back on {day}, but the ferry was late, so we came an hour after closing time.",
    "The bag on the left side is torn, and I have mended it with tape so that nothing gets lost.",
    "There was also a strange noise from the back wheel whenever one of the children leaned over.",
    "I paid by card, and a second time in cash, because the machine said that it had not worked.",
    "Could you please tell {name} that the lamp was already broken when we took over the {thing}?",
    "In the instructions it says page {number}, and in the little book there are only forty pages.",
    "For the next time we would rather have a lower saddle, and a basket that holds two crates.",
    "The brake on the right is fine now, after {name} turned the small screw that you told us of.",
    "We would like to come again on {day}, if a {thing} is left for two adults and one child.",
    "What I liked best was the quiet path along the old railway, which your map does not show.",
    "The lock opens with a code, but {number} did not work, and neither did the one before it.",
    "Somebody has left a green raincoat in the box, with a name tag that says {name} {number}.",
    "My sister asks whether the deposit is paid back at once or only when the month is over.",
    "The tyre lost air twice, and each time we found a pump only after walking for half an hour.",
)
_CLOSINGS = (
    "Please write back before {day}, because after that I am away and {name} reads no letters.",
    "Tell me what you think, and what it costs, and whether I should bring the {thing} to you.",
)
_ANSWERS = (
    "Dear {name}, thank you for the letter.",
    "We have looked at booking {number} and found the {thing} in our list.",
    "Your money for it comes back on {day} at the latest.",
    "Bring the {thing} to the station by the canal on {day}; we shall see to it while you wait.",
    "The second payment was our mistake, and we are sorry.",
    "The code for the lock is now {number}.",
    "A {thing} is free for you on {day}, with a basket and a low saddle.",
    "The raincoat can stay with us until somebody asks for it.",
    "Nothing has to be paid for the bag.",
    "Please call us about the rest.",
)
_NAMES = ("Amara", "Bjarne", "Chiara", "Dieter", "Elif", "Farid", "Greta", "Hana", "Ilya", "Jun")
_THINGS = ("cargo bike", "trailer", "city bike", "tandem", "child's bicycle", "rickshaw")
_DAYS = ("Friday", "Sunday", "the 14th", "Monday", "the 2nd", "Easter Saturday")


def letter_records(count: int, answers: int, sentences: int, seed: int = 0) -> list[Record]:
    """Make letters, each with answers of different scores.

    Args:
        count: How many letters.
        answers: How many answers to each.
        sentences: Of an answer, give or take one; a sentence has some 14 tokens.
        seed: Everything is drawn by it.

    Example:
        >>> [record] = letter_records(1, answers=2, sentences=3)
        >>> record.messages[0].content[:60]
        'It is about booking 5104, a trailer for Elif, which you shou'
        >>> [response.score for response in record.responses]
        [2.0, 1.0]
    """
    draw = random.Random(seed)

    def filled(sentence: str) -> str:
        return sentence.format(
            name=draw.choice(_NAMES),
            thing=draw.choice(_THINGS),
            day=draw.choice(_DAYS),
            number=draw.randrange(1000, 10000),
        )

    records = []
    for index in range(count):
        middles = draw.sample(_MIDDLES, SENTENCES - 2)
        letter = [draw.choice(_OPENINGS), *middles, draw.choice(_CLOSINGS)]
        text = " ".join(map(filled, letter))
        scores = draw.sample(range(1, answers + 1), answers)
        responses = []
        for score in scores:
            length = draw.randint(sentences - 1, sentences + 1)
            told = " ".join(map(filled, draw.sample(_ANSWERS, length)))
            responses.append(Response(told, score=float(score)))
        record = Record(
            f"letter-{index:03d}",
            "letters/answer",
            (Message("user", text),),
            responses=tuple(responses),
        )
        records.append(record)
    return records
