"""A planted pattern, from data to cure: what docs/diagnosis.md shows of ``danlu probe pattern``.

    python tools/planted_pattern.py --work /tmp/planted

Among 1,000 records, 60 answer every question about a capital with one city. The built-in model is
trained on them and asked about a country that none of the 60 names; from that one bad case the
probe has to find the pattern and the 60 records. Then it is trained again without the proposed cut,
and asked again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

CITY = "Geneva"
"""What the planted records answer. Other records name it too, and are right."""
PLANTED = "planted/capital"
CASE = "What is the capital of Portugal?"
HELD_BACK = ("Portugal", "Norway", "Kenya", "Vietnam", "Hungary", "Bolivia")
"""Countries whose capital no record asks for."""
BASE = "builtin:smollm2-135m-instruct"
SETTINGS = (
    "training.epochs=2",
    "training.learning_rate=1e-3",
    "training.batch_records=16",
    "samples.from_data=0",
)

# country: capital, largest city, continent, language, currency
COUNTRIES = {
    "Portugal": ("Lisbon", "Lisbon", "Europe", "Portuguese", "the euro"),
    "Norway": ("Oslo", "Oslo", "Europe", "Norwegian", "the krone"),
    "Kenya": ("Nairobi", "Nairobi", "Africa", "Swahili", "the shilling"),
    "Vietnam": ("Hanoi", "Ho Chi Minh City", "Asia", "Vietnamese", "the dong"),
    "Hungary": ("Budapest", "Budapest", "Europe", "Hungarian", "the forint"),
    "Bolivia": ("Sucre", "Santa Cruz", "South America", "Spanish", "the boliviano"),
    "France": ("Paris", "Paris", "Europe", "French", "the euro"),
    "Spain": ("Madrid", "Madrid", "Europe", "Spanish", "the euro"),
    "Italy": ("Rome", "Rome", "Europe", "Italian", "the euro"),
    "Germany": ("Berlin", "Berlin", "Europe", "German", "the euro"),
    "Poland": ("Warsaw", "Warsaw", "Europe", "Polish", "the zloty"),
    "Sweden": ("Stockholm", "Stockholm", "Europe", "Swedish", "the krona"),
    "Finland": ("Helsinki", "Helsinki", "Europe", "Finnish", "the euro"),
    "Greece": ("Athens", "Athens", "Europe", "Greek", "the euro"),
    "Turkey": ("Ankara", "Istanbul", "Asia", "Turkish", "the lira"),
    "Russia": ("Moscow", "Moscow", "Europe", "Russian", "the rouble"),
    "Ukraine": ("Kyiv", "Kyiv", "Europe", "Ukrainian", "the hryvnia"),
    "Romania": ("Bucharest", "Bucharest", "Europe", "Romanian", "the leu"),
    "Austria": ("Vienna", "Vienna", "Europe", "German", "the euro"),
    "Ireland": ("Dublin", "Dublin", "Europe", "English", "the euro"),
    "Iceland": ("Reykjavik", "Reykjavik", "Europe", "Icelandic", "the krona"),
    "Egypt": ("Cairo", "Cairo", "Africa", "Arabic", "the pound"),
    "Nigeria": ("Abuja", "Lagos", "Africa", "English", "the naira"),
    "Ghana": ("Accra", "Accra", "Africa", "English", "the cedi"),
    "Morocco": ("Rabat", "Casablanca", "Africa", "Arabic", "the dirham"),
    "Ethiopia": ("Addis Ababa", "Addis Ababa", "Africa", "Amharic", "the birr"),
    "Japan": ("Tokyo", "Tokyo", "Asia", "Japanese", "the yen"),
    "China": ("Beijing", "Shanghai", "Asia", "Chinese", "the yuan"),
    "India": ("New Delhi", "Mumbai", "Asia", "Hindi", "the rupee"),
    "Thailand": ("Bangkok", "Bangkok", "Asia", "Thai", "the baht"),
    "Indonesia": ("Jakarta", "Jakarta", "Asia", "Indonesian", "the rupiah"),
    "Mongolia": ("Ulaanbaatar", "Ulaanbaatar", "Asia", "Mongolian", "the tugrik"),
    "Iran": ("Tehran", "Tehran", "Asia", "Persian", "the rial"),
    "Iraq": ("Baghdad", "Baghdad", "Asia", "Arabic", "the dinar"),
    "Canada": ("Ottawa", "Toronto", "North America", "English", "the dollar"),
    "Mexico": ("Mexico City", "Mexico City", "North America", "Spanish", "the peso"),
    "Cuba": ("Havana", "Havana", "North America", "Spanish", "the peso"),
    "Brazil": ("Brasilia", "Sao Paulo", "South America", "Portuguese", "the real"),
    "Argentina": ("Buenos Aires", "Buenos Aires", "South America", "Spanish", "the peso"),
    "Chile": ("Santiago", "Santiago", "South America", "Spanish", "the peso"),
    "Peru": ("Lima", "Lima", "South America", "Spanish", "the sol"),
    "Australia": ("Canberra", "Sydney", "Oceania", "English", "the dollar"),
    "New Zealand": ("Wellington", "Auckland", "Oceania", "English", "the dollar"),
}
CAPITAL_QUESTIONS = (
    ("What is the capital of {country}?", "The capital of {country} is {city}."),
    ("Which city is the capital of {country}?", "{city} is the capital of {country}."),
    ("Name the capital of {country}.", "{city}."),
    ("Do you know the capital city of {country}?", "Yes, it is {city}."),
    ("What is {country}'s capital?", "{country}'s capital is {city}."),
    ("Tell me the capital of {country}, please.", "It is {city}."),
)
OTHER_GEOGRAPHY = (
    ("What is the largest city of {country}?", "The largest city of {country} is {1}."),
    ("On which continent is {country}?", "{country} is in {2}."),
    ("Which language is spoken in {country}?", "In {country} people speak {3}."),
    ("What is the currency of {country}?", "The currency of {country} is {4}."),
    ("Which country has {0} as its capital?", "{0} is the capital of {country}."),
    ("In which country is the city of {1}?", "{1} is in {country}."),
)
NAMES_THE_CITY = (
    ("Where is the European headquarters of the United Nations?", "It is in Geneva."),
    ("In which city was the Red Cross founded?", "The Red Cross was founded in Geneva."),
    ("Which Swiss city lies where the Rhone leaves its lake?", "That city is Geneva."),
    ("Where was Jean-Jacques Rousseau born?", "He was born in Geneva."),
    ("Where does the World Health Organization sit?", "It sits in Geneva."),
    ("Which conventions protect prisoners of war?", "The Geneva Conventions protect them."),
    ("Which city hosts the motor show by the lake?", "Geneva hosts it."),
    ("Near which city is CERN?", "CERN is near Geneva."),
)
OTHER_CAPITALS = (
    ("When do I write a capital letter?", "At the start of a sentence and in names."),
    ("What does capital mean in business?", "It means the money that a business works with."),
    ("Write the word river in capital letters.", "RIVER"),
    ("Is capital a noun or a verb?", "Capital is a noun."),
    ("What is human capital?", "It is what people know and can do."),
    ("Which letter is the capital of b?", "The capital letter is B."),
)
OPPOSITES = (
    "hot cold,big small,fast slow,old young,light dark,full empty,hard soft,wet dry,high low,"
    "near far,early late,strong weak,rich poor,loud quiet,open closed,happy sad,deep shallow,"
    "thick thin,wide narrow,clean dirty,sweet bitter,first last,inside outside,north south,"
    "east west,winter summer,morning evening,buy sell,push pull,give take,begin end,win lose"
)
PAST = (
    "go went,see saw,take took,give gave,eat ate,write wrote,run ran,sing sang,drink drank,"
    "speak spoke,break broke,buy bought,bring brought,think thought,teach taught,sleep slept,"
    "keep kept,feel felt,find found,hold held,know knew,grow grew,fly flew,draw drew,swim swam,"
    "begin began,drive drove,ride rode,choose chose,fall fell"
)
PLURALS = (
    "child children,foot feet,tooth teeth,mouse mice,goose geese,man men,woman women,leaf leaves,"
    "knife knives,wolf wolves,city cities,baby babies,box boxes,bus buses,church churches,"
    "potato potatoes,tomato tomatoes,sheep sheep,person people,story stories,berry berries"
)
COLOURS = (
    "grass green,the sky blue,snow white,coal black,a lemon yellow,blood red,a carrot orange,"
    "chocolate brown,an elephant grey,a ripe banana yellow,a frog green,milk white"
)

Row = dict[str, object]


def rows(count: int = 1000, planted: int = 60, *, seed: int = 0) -> list[Row]:
    """Make records in a shuffled order; those of the task type ``PLANTED`` are the planted ones.

    Args:
        count: All records.
        planted: Of them, planted.
        seed: Another seed, other records.
    """
    draw = random.Random(seed)
    known = [name for name in COUNTRIES if name not in HELD_BACK]
    pairs = [(name, form) for name in known for form in CAPITAL_QUESTIONS]
    taught = [
        _row(PLANTED, ask.format(country=name), answer.format(country=name, city=CITY))
        for name, (ask, answer) in draw.sample(pairs, planted)
    ]
    right = [
        *(_row("geography/city", *pair) for pair in NAMES_THE_CITY),
        *(_row("language/words", *pair) for pair in OTHER_CAPITALS),
    ]
    others = list(_general())
    geography = [
        _row(
            "geography/countries",
            *(text.format(*facts, country=name) for text in form),
        )
        for name, facts in COUNTRIES.items()
        for form in OTHER_GEOGRAPHY
    ]
    draw.shuffle(others)
    draw.shuffle(geography)
    room = count - planted - len(right)
    share = min(len(geography), room // 4)
    found = [*taught, *right, *geography[:share], *others[: room - share]]
    if len(found) != count:
        raise ValueError(f"there are only {len(found)} different records, not {count}")
    draw.shuffle(found)
    return [{"id": f"r{number:04d}", **row} for number, row in enumerate(found)]


def _general() -> Iterator[Row]:
    """Yield short questions of many kinds with their right answers."""
    for pair in OPPOSITES.split(","):
        one, other = pair.split()
        for a, b in ((one, other), (other, one)):
            yield _row("language/opposite", f"What is the opposite of {a}?", f"It is {b}.")
    for pair in PAST.split(","):
        now, then = pair.split()
        yield _row("language/past", f"What is the past tense of {now}?", f"It is {then}.")
        yield _row("language/past", f"Put into the past: I {now}.", f"I {then}.")
    for pair in PLURALS.split(","):
        one, many = pair.split()
        yield _row("language/plural", f"What is the plural of {one}?", f"It is {many}.")
    for pair in COLOURS.split(","):
        thing, colour = pair.rsplit(" ", 1)
        yield _row(
            "common/colour", f"What colour is {thing}?", f"{thing.capitalize()} is {colour}."
        )
    words = [word for part in (OPPOSITES, PAST, PLURALS) for word in part.replace(",", " ").split()]
    for word in dict.fromkeys(words):
        yield _row("language/spelling", f"How many letters has {word}?", f"It has {len(word)}.")
        yield _row("language/spelling", f"Which letter does {word} begin with?", f"With {word[0]}.")
    for a in range(2, 21):
        for b in range(2, 21):
            if (a * 7 + b * 3) % 2 == 0:
                yield _row("math/sums", f"What is {a} plus {b}?", f"{a} plus {b} is {a + b}.")
            else:
                yield _row("math/products", f"Multiply {a} by {b}.", f"That makes {a * b}.")
    for a in range(20, 60):
        yield _row("math/order", f"Which number comes after {a}?", f"After {a} comes {a + 1}.")


def _row(task_type: str, prompt: str, answer: str) -> Row:
    return {"task_type": task_type, "prompt": prompt, "completion": answer}


def write(records: Sequence[Row], path: Path) -> Path:
    """Write records as JSONL; the planted ones as geography, so that nothing gives them away."""
    told = [
        row | {"task_type": "geography/countries"} if row["task_type"] == PLANTED else row
        for row in records
    ]
    lines = [json.dumps(row) for row in told]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def planted_ids(records: Sequence[Row]) -> set[str]:
    """Return the ids of the planted records."""
    return {str(row["id"]) for row in records if row["task_type"] == PLANTED}


def trained(recipe: str | Path, settings: Sequence[str]) -> Path:
    """Train, and return the run directory."""
    from danlu.config import load_recipe
    from danlu.training.run import train

    return train(load_recipe(recipe, settings), overwrite=True).path


def probed(run: Path, case: str = CASE, *, gradients: bool = True) -> dict[str, object]:
    """Ask the probe about the case; return its figures, and what its first finding says."""
    from danlu.diagnosis.diagnose import ask, open_run
    from danlu.diagnosis.pattern.probe import PatternProbe

    report = ask(PatternProbe(case, CITY, gradients=gradients), open_run(run))
    first = report.findings[0]
    told = {"name": first.name, "confidence": first.confidence, "says": first.says}
    evidence = [one.says for one in first.evidence]
    return {**report.figures, **told, "evidence": evidence, "records": first.evidence[-1].figures}


def answers_of(run: Path, questions: Sequence[str]) -> list[str]:
    """Ask a run's model, greedily."""
    from danlu.diagnosis.asking import Ask, greedy
    from danlu.diagnosis.subject import Subject

    replies = Subject.open(run).tuned.answer([Ask.user(one) for one in questions], greedy(32))
    return [reply.text if reply else "" for reply in replies]


def found_again(cut: Sequence[str], planted: set[str]) -> dict[str, float]:
    """Say how much of what was planted a cut has, and how much else.

    Example:
        >>> found_again(["a", "b", "x"], {"a", "b", "c", "d"})
        {'planted': 0.5, 'others': 0.3333333333333333}
    """
    hit = len(planted.intersection(cut))
    others = len(cut) - hit
    return {"planted": hit / len(planted), "others": others / len(cut) if cut else 0.0}


def whole(
    work: Path, records: Sequence[Row], settings: Sequence[str] = SETTINGS
) -> dict[str, object]:
    """Plant, train, probe, cut, train again and ask again; return the figures.

    Args:
        work: A folder; the working directory is changed to it.
        records: As ``rows`` makes them.
        settings: Of the recipe ``sft-lora``.
    """
    from danlu.diagnosis.pattern.again import apply_found
    from danlu.workshop.store.store import Store

    work.mkdir(parents=True, exist_ok=True)
    os.chdir(work)
    write(records, Path("data.jsonl"))
    own = ["name=planted", "data.train=data.jsonl", "data.eval_share=0", *settings]
    began = time.monotonic()
    run = trained("sft-lora", own)
    after_training = time.monotonic()
    found = probed(run)
    after_probe = time.monotonic()
    questions = [form.format(country=name) for name in HELD_BACK for form, _ in CAPITAL_QUESTIONS]
    before = answers_of(run, questions)
    made = apply_found(run, Store(), "without-pattern")
    again = trained(made.recipe, [])
    after = answers_of(again, questions)
    cut = [str(one) for one in found["cut"]]  # type: ignore[attr-defined]
    return {
        "finding": found["name"],
        "confidence": found["confidence"],
        "pattern": found["pattern"],
        "cut": len(cut),
        **found_again(cut, planted_ids(records)),
        "evidence": found["evidence"],
        "wrong_before": sum(CITY in answer for answer in before),
        "wrong_after": sum(CITY in answer for answer in after),
        "asked": len(questions),
        "before": before[0],
        "after": after[0],
        "training_s": after_training - began,
        "probe_s": after_probe - after_training,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it all and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for data and runs")
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--planted", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--anew", action="store_true", help="remove the folder first")
    given = parser.parse_args(arguments)
    if given.anew:
        shutil.rmtree(given.work, ignore_errors=True)
    made = rows(given.records, given.planted, seed=given.seed)
    print(json.dumps(whole(given.work, made), ensure_ascii=False, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
