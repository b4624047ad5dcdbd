"""``self-instruct``: what is shown, what is filtered, and what comes out, exactly."""

import pytest

from danlu.errors import DanluError
from danlu.generation.interface import Sampling
from danlu.workshop.operations.novelty import Novelty
from danlu.workshop.produce.common import prompt_of
from danlu.workshop.produce.prompts import language_of
from danlu.workshop.produce.self_instruct import SelfInstruct, seed_tasks, tasks_in
from danlu.workshop.produce.unusable import unusable
from tests.workshop.produce.asking import decided, fates, made, speaking, talk
from tests.workshop.produce.endpoint_server import Does

SEEDS = [talk(f"s{n}", f"Explain the word number {n} to me", "It is.", "a/b") for n in range(3)]
BRIEF = {"sampling": Sampling(max_new_tokens=64), "answering": Sampling(max_new_tokens=64)}
INVENTED = """[a/b]: Name the rivers of Spain

Task 5 [x/y]: Write a poem about
two lines of rain

Task 6 [a/b]: Describe what you see in this picture

Task 7 [a/b]: Explain the word number 2 to me!

Task 8 [a/b]: 请把这句话翻译成英文

Task 9 [a/b]: What is the largest
"""


def maker(engine, **settings) -> SelfInstruct:
    settings = {"languages": ("en",), "round_requests": 1, "dry_rounds": 1, **BRIEF, **settings}
    return SelfInstruct(engine, **settings)


def inventing(text, body):
    if "Continue the list" in text:
        return Does(INVENTED, finish="length")
    return f"answer to: {text}"


def test_a_round_is_filtered_and_answered(tmp_path):
    with speaking(inventing, tmp_path) as (engine, server):
        work = maker(engine, count=10)
        decisions = decided(work, *SEEDS)
        assert len(server.bodies) == 4  # Twice tasks, of which the second time none is new.
    assert fates(decisions) == [("kept", "")] * 3 + [("made", "self-instruct")] * 2
    rivers, poem = made(decisions)
    assert rivers.task_type == "a/b"
    assert [m.content for m in rivers.messages] == [
        "Name the rivers of Spain",
        "answer to: Name the rivers of Spain",
    ]
    assert poem.task_type == "unlabelled/self_instruct"
    assert prompt_of(poem) == "Write a poem about\ntwo lines of rain"
    assert decisions[-1].entry.partner in {"s0", "s1", "s2"}
    first = [(row.rule, row.text, row.partner, row.value) for row in work.rejects.rows[:3]]
    assert first == [
        ("unusable: image", "Describe what you see in this picture", first[0][2], None),
        ("other language", "请把这句话翻译成英文", first[1][2], None),
        ("novelty", "Explain the word number 2 to me!", "s2", 1.0),
    ]
    # The second round finds the same again; the last task, cut off, is never looked at.
    assert work.rejects.counts() == {"novelty": 4, "unusable: image": 2, "other language": 2}
    assert "largest" not in "".join(row.text for row in work.rejects.rows)


def test_what_was_accepted_is_shown_and_no_more_is_made_than_wanted(tmp_path):
    topics = [
        "Spain",
        "Norway",
        "Chile",
        "Japan",
        "Kenya",
        "Peru",
        "Iceland",
        "Turkey",
        "Mali",
        "Cuba",
        "Laos",
        "Fiji",
    ]
    kinds = [
        "rivers",
        "kings",
        "lakes",
        "songs",
        "birds",
        "trees",
        "ports",
        "dishes",
        "stars",
        "coins",
    ]
    asked = []

    def says(text, body):
        if "Continue the list" not in text:
            return f"answer to: {text}"
        asked.append(text)
        turn = body["seed"]
        return "\n".join(
            f"Task {n + 4} [a/b]: {topics[turn]} {kind} {turn * 7 + n}: {'why ' * n}tell"
            for n, kind in enumerate(kinds[turn * 3 : turn * 3 + 3])
        )

    with speaking(says, tmp_path) as (engine, _):
        decisions = decided(maker(engine, count=5, shots_given=2, shots_made=1), *SEEDS)
    assert len(made(decisions)) == 5
    assert len(asked) == 2
    first, second = (text.count("[a/b]: Explain the word") for text in asked)
    assert (first, second) == (3, 2)
    assert sum("Spain " in text for text in asked) == 1


def test_the_result_depends_on_the_seed_and_not_on_time(tmp_path):
    def says(text, body):
        if "接着往下写" in text or "Continue the list" in text:
            return inventing("Continue the list", body)
        return Does("fine", after_s=0.02 * (len(text) % 3))

    results = []
    for folder in ("x", "y"):
        with speaking(says, tmp_path / folder) as (engine, _):
            work = maker(engine, count=2, round_requests=3, languages=("zh", "en"))
            results.append(decided(work, *seed_tasks()))
    assert results[0] == results[1]
    assert len(made(results[0])) == 2


def test_a_task_whose_answers_conflict_is_left_out(tmp_path):
    def says(text, body):
        if "Continue the list" in text:
            return Does(INVENTED, finish="length")
        return "blue" if "rivers" in text else str(body["seed"])

    with speaking(says, tmp_path) as (engine, _):
        work = maker(engine, count=2, instances=3, most_rounds=1)
        [rivers] = made(decided(work, *SEEDS))
        assert "rivers" in prompt_of(rivers)
        assert work.rejects.counts()["conflicting answers"] == 1
        first = maker(engine, count=2, instances=3, conflict="first", most_rounds=1)
        assert len(made(decided(first, *SEEDS))) == 2


def test_tasks_are_read_from_an_answer():
    listed = "Task 3: Sort these:\n1. pear\n2. fig\nTask 4 (a/b): Next\n**Task 5 [c/d]:** Last"
    assert tasks_in(listed, 3) == [
        ("", "Sort these:\n1. pear\n2. fig"),
        ("a/b", "Next"),
        ("c/d", "Last"),
    ]
    assert tasks_in("7. 写诗\n8. 算数", 7) == [("", "写诗"), ("", "算数")]
    assert tasks_in("1. Write\n2. Count", 9) == [("", "Write"), ("", "Count")]
    assert tasks_in(": Compare:\n1. a\n2. b", 9) == []
    assert tasks_in("I cannot do that.", 3) == []


@pytest.mark.parametrize(
    ("task", "rule"),
    [
        ("翻译", "too short"),
        ("Summarise https://a.org/x", "link"),
        ("打开下面的链接并总结", "link"),
        ("根据附件写一份报告", "file"),
        ("Read the attached file and sum up", "file"),
        ("请描述这张图片的内容", "image"),
        ("Draw a cat in a hat", "image"),
        ("听下面的录音并写下来", "audio or video"),
        ("Watch the video and comment", "audio or video"),
        ("What is today's weather in Rome?", "present time"),
        ("今天的天气怎么样呢", "present time"),
        ("帮我订一张去北京的机票", "acting in the world"),
        ("Set an alarm for seven", "acting in the world"),
        ("Write a letter to [insert name]", "placeholder"),
        ("给【请填写姓名】写一封信", "placeholder"),
        ("As an AI language model, say hi", "about itself"),
        ("……请继续写下去", "begins with a sign"),
        ("word " * 1000, "too long"),
        ("Write a story about a painter who draws cats", None),
        ("写一段描写照相馆的文字", None),
        ("设计一个闹钟的外观，用文字描述", None),
        ("What does the weather have to do with mood?", None),
    ],
)
def test_unusable_tasks(task, rule):
    assert unusable(task) == rule


def test_the_shipped_seeds():
    seeds = seed_tasks()
    prompts = [prompt_of(seed) for seed in seeds]
    languages = [language_of(prompt) for prompt in prompts]
    assert languages.count("zh") >= 50
    assert languages.count("en") >= 50
    assert len({seed.task_type for seed in seeds}) >= 50
    assert [prompt for prompt in prompts if unusable(prompt)] == []
    assert {fate for fate, _ in fates(decided(Novelty(0.7), *seeds))} == {"kept"}


def test_a_language_without_seeds_is_told(tmp_path):
    with speaking(inventing, tmp_path) as (engine, _):
        with pytest.raises(DanluError, match="language 'zh'"):
            decided(maker(engine, count=1, languages=("zh",)), *SEEDS)
        with pytest.raises(DanluError, match="at least 1"):
            maker(engine, count=0)
