"""Short classification records under one long system prompt, made from templates."""

from __future__ import annotations

import random

from danlu.records import Message, Record

SYSTEM_PROMPT = """\
You sort the mail of a small company that rents out bicycles, cargo bikes and trailers by the \
day. Customers write in about everything, often in a hurry and on a telephone, so spelling and \
order are not to be relied on. Read the message and answer with the name of exactly one drawer, \
in lower case, and nothing else. Do not greet, do not explain, do not apologise, and never \
answer the customer.

The drawers are:
booking: the customer wants to rent something, or asks whether something is free on a certain day.
change: a booking exists and its day, hour, place or kind of bicycle is to be another one.
cancel: a booking exists and is not wanted any more, whether or not money is to be returned.
payment: an invoice, a deposit, a card that was refused, a sum that is wrong or was taken twice.
damage: something broke, fell off, squeaks, loses air or was damaged before or during the ride.
lost: a bicycle, a key, a lock or a thing that the customer left in a box or a basket is missing.
praise: the customer is content, says thank you, or recommends us, and wants nothing from us.
other: none of the drawers above fits, or the message is advertising, or nobody can tell.

If two drawers fit, take the one that somebody has to act on first: damage comes before payment,\
 lost comes before damage, and cancel comes before change. A message that thanks us and then \
asks for something belongs to what it asks for. A question about the price of a rental that has \
not been booked yet is booking, not payment. A flat tyre is damage even if the customer has \
already mended it. If a message is written in another language, sort it all the same, and still \
answer with the English name of the drawer. Names, telephone numbers and booking numbers in the \
message do not matter for the choice and must never be repeated in the answer."""

_THINGS = ("cargo bike", "trailer", "city bike", "child's bicycle", "tandem", "e-bike")
_DAYS = ("on Friday", "next Sunday", "tomorrow", "on the 14th", "this afternoon", "at Easter")
_MESSAGES = {
    "booking": (
        "Hello, would a {thing} be free {day}? We are two adults and need it until the evening.",
        "what does a {thing} cost per day, I would like one {day} if that is still possible",
    ),
    "change": (
        "Booking {number}: could I have the {thing} a day later? {day} does not suit us after all.",
        "we reserved a {thing} under {number} but would rather fetch it at the station {day}",
    ),
    "cancel": (
        "Please strike out my {thing} {day}, number {number}. My son is ill, so we stay at home.",
        "I do not need the {thing} any more ({number}), is the deposit coming back by itself?",
    ),
    "payment": (
        "You have charged the {thing} twice, {number}. Please look into it before {day}.",
        "my card was refused when I paid for the {thing}, number {number}, can I pay in cash {day}",
    ),
    "damage": (
        "The chain of the {thing} jumps off at every hill. Number {number}. What shall I do {day}?",
        "the left brake of our {thing} scrapes, we noticed it {day}, it is booking {number}",
    ),
    "lost": (
        "I must have left a grey scarf in the box of the {thing} that I gave back {day}.",
        "the key of the {thing} is nowhere to be found, booking {number}, we meant to ride {day}",
    ),
    "praise": (
        "Just to say that the {thing} was a joy to ride {day}. We will tell all of our neighbours!",
        "thank you for the {thing}, number {number}, best outing that we have had in years",
    ),
    "other": (
        "Do you also repair other people's bicycles, or know a workshop that is open {day}?",
        "We print flyers at the lowest price. Order {day} and get the second thousand for free.",
    ),
}


def triage_records(count: int, seed: int = 0) -> list[Record]:
    """Make ``count`` records, the drawers in turn, everything else drawn by ``seed``.

    Example:
        >>> triage_records(3)[2].messages[2].content
        'cancel'
    """
    draw = random.Random(seed)
    drawers = list(_MESSAGES)
    records = []
    for index in range(count):
        drawer = drawers[index % len(drawers)]
        text = draw.choice(_MESSAGES[drawer]).format(
            thing=draw.choice(_THINGS), day=draw.choice(_DAYS), number=draw.randrange(1000, 10000)
        )
        messages = (
            Message("system", SYSTEM_PROMPT),
            Message("user", text),
            Message("assistant", drawer),
        )
        records.append(Record(f"triage-{index:03d}", f"triage/{drawer}", messages))
    return records
