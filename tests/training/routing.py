"""Questions that need a look into documents, and questions that do not: data for a router.

Held-out questions have other wordings and other words than those that are learned.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

LOOK_UP = (
    "What does our {paper} say about {topic}?",
    "Which clause of the {paper} deals with {topic}?",
    "When was the {paper} last changed?",
    "Who signed the {paper} on {topic}?",
    "Find the passage on {topic} in the {paper}.",
    "How much was spent on {topic} last quarter?",
    "What did {person} write about {topic} in the mail of Monday?",
    "Is {topic} mentioned in the minutes of this week?",
    "Who won the election in {place} yesterday?",
    "What is the weather in {place} right now?",
    "How did the shares of {firm} close today?",
    "What is the newest price of the {thing}?",
    "Which version of the {thing} is out at present?",
    "Has {firm} announced anything about {topic} this month?",
    "What is the phone number of {person} at {firm}?",
    "When does the last train to {place} leave tonight?",
    "How many orders of the {thing} came in last week?",
    "What were the results of {firm} for the third quarter?",
    "Which room is booked for the meeting with {person}?",
    "Quote the paragraph of the {paper} that covers {topic}.",
)
KNOWN = (
    "Write a short poem about {nature}.",
    "Translate '{phrase}' into French.",
    "What is {a} plus {b}?",
    "Hello, how are you today?",
    "Explain in one sentence why {nature} is beautiful.",
    "Make this sentence shorter: {phrase}.",
    "Give me three words that rhyme with {word}.",
    "What is the opposite of {word}?",
    "Correct the spelling: {phrase}.",
    "Thank you, that was all I wanted.",
    "Tell me a joke about {nature}.",
    "Is {a} an even number?",
    "Say '{phrase}' in a friendlier way.",
    "Count from {a} to {b}.",
    "Write a function that adds two numbers.",
    "Invent a name for a story about {nature}.",
    "How do you spell {word}?",
    "Turn '{phrase}' into a question.",
    "Use the word {word} in a sentence.",
    "What colour do you get when you mix blue and yellow?",
)
NEW_LOOK_UP = (
    "According to the {paper}, how is {topic} handled?",
    "Look up what {person} agreed with {firm}.",
    "What happened in {place} this morning?",
    "Where in the {paper} can I read about {topic}?",
    "Did {firm} deliver the {thing} on time in October?",
    "What is the current exchange rate in {place}?",
    "Which customers complained about the {thing} this year?",
    "Who is in charge of {topic} at {firm} now?",
    "Summarise the latest report on {topic}.",
    "What date is in the {paper}?",
)
NEW_KNOWN = (
    "Please write a birthday card with {nature} in it.",
    "What is {a} times {b}?",
    "Rewrite politely: {phrase}.",
    "Is {word} a noun or a verb?",
    "Good morning! Can you help me?",
    "Compose a haiku on {nature}.",
    "List five animals.",
    "Put these in order: {b}, {a}, 3.",
    "How would a pirate say '{phrase}'?",
    "Think of a riddle whose answer is {word}.",
)
FILLS = {
    "paper": ("contract", "handbook", "travel policy", "lease"),
    "topic": ("parental leave", "data protection", "overtime", "the new warehouse"),
    "person": ("Ms Berg", "Tom Ilves", "the auditor", "Dr Okafor"),
    "place": ("Lisbon", "Osaka", "Quito", "Leeds"),
    "firm": ("Northwind", "Helio Bank", "Acme Freight", "Blue Harbour"),
    "thing": ("coffee grinder", "pump P-300", "heating valve", "router"),
    "nature": ("rain", "an old oak", "the sea", "snow"),
    "phrase": ("I am late again", "bring me the book", "we have no milk", "it is too loud here"),
    "word": ("light", "paper", "green", "run"),
    "a": ("12", "7", "40", "5"),
    "b": ("30", "18", "52", "9"),
}
NEW_FILLS = {
    "paper": ("service agreement", "safety manual"),
    "topic": ("remote work", "invoice approval"),
    "person": ("Mr Lindqvist", "Aylin Demir"),
    "place": ("Nairobi", "Graz"),
    "firm": ("Kestrel Foods", "Vela Energy"),
    "thing": ("label printer", "winter tyre"),
    "nature": ("autumn leaves", "a sleeping cat"),
    "phrase": ("the soup is cold", "send it tomorrow"),
    "word": ("window", "quick"),
    "a": ("6", "25"),
    "b": ("11", "80"),
}


def write_questions(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """Write 40 training questions and 20 held-out ones, all different; return both files.

    About half of them need a look into documents (``yes``).
    """
    draw = random.Random(seed)
    parts = {
        "train": (LOOK_UP, KNOWN, FILLS, 1),
        "eval": (NEW_LOOK_UP, NEW_KNOWN, NEW_FILLS, 1),
    }
    files = []
    for name, (look_up, known, fills, each) in parts.items():
        rows: dict[str, dict[str, str]] = {}
        for wordings, label in ((look_up, "yes"), (known, "no")):
            for number, wording in enumerate(wordings):
                before = len(rows)
                for _ in range(20 * each):  # a wording without a gap gives one question
                    words = {slot: draw.choice(options) for slot, options in fills.items()}
                    task_type = "routing/" + ("desk" if number % 2 else "phone")
                    text = wording.format(**words)
                    if len(rows) < before + each:
                        rows[text] = {"text": text, "label": label, "task_type": task_type}
        file = folder / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows.values()), "utf-8")
        files.append(file)
    return files[0], files[1]
