"""Data, evaluations, votes and a conversation for the studio's pictures: made up, by no model."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from danlu.evaluation.directory import EvalDirectory
from danlu.evaluation.schema import TypeStakes
from danlu.evaluation.store.database import EvalStore
from danlu.evaluation.voting.ballots import pair_ballots, paired
from danlu.evaluation.voting.sitting import Sitting
from danlu.records import Message, Record, write_records
from danlu.records.source import Source
from danlu.serving.speakers import Speaker
from danlu.studio import check_index
from danlu.studio.chat.talk import Talk, TalkSettings
from danlu.workshop.operations.importing import import_files
from danlu.workshop.store.store import Store
from tests.evaluation.versions import write_evaluation

DATASET = "support"
CASES = {
    "support/refund": [
        (
            "I returned the kettle nine days ago and still have no refund. When will it come?",
            "Refunds take up to 14 days.",
            "I am sorry for the wait. A refund is booked within 14 days after the parcel reached "
            "us; yours was scanned on the 3rd, so it should be with you by the 17th. If it is not, "
            "write back with the order number and I will look into it.",
        ),
        (
            "水壶退回去九天了，退款还没到，什么时候能到？",
            "退款一般需要十四天。",
            "抱歉让您久等。我们收到包裹后十四天内办理退款；您的包裹三号已签收，最迟十七号到账。"
            "如果届时还没到，请把订单号发给我，我来查。",
        ),
        (
            "The lid came broken. Do I have to send the whole thing back?",
            "Yes, please send everything back in the original packaging.",
            "No. Keep the kettle: I will send you a new lid today, free of charge.",
        ),
        ("Can I get store credit instead of money?", "Yes.", "Yes, and it never runs out."),
    ],
    "identity/name": [
        ("你是谁？", "我是丹炉客服助手。", "我是一个人工智能语言模型。"),
        ("Who made you?", "I am Danlu's assistant.", "I am an AI language model."),
        ("你叫什么名字？", "我叫小丹。", "我没有名字。"),
    ],
    "reasoning/common_sense": [
        (
            "Which is heavier, a kilogram of feathers or a kilogram of iron?",
            "Neither: both are one kilogram.",
            "Iron is heavier than feathers.",
        ),
        ("用热水洗的衣服会缩水，为什么？", "纤维受热后回缩。", "因为热水会让衣服变小。"),
        ("Why do we see lightning before thunder?", "Light is faster.", "Light outruns sound."),
    ],
}
NAMES = ("support-a", "support-b")
VOTERS = {"Li": CASES["support/refund"][0][0], "李": CASES["support/refund"][1][0]}
"""Who votes in the English and in the Chinese pictures, and what they are asked there."""


def add_models(root: Path) -> None:
    """Let two runs have an adapter, as far as a list can see."""
    for name in NAMES:
        folder = root / "runs" / name / "adapter"
        folder.mkdir(parents=True, exist_ok=True)
        about = {"base_model_name_or_path": "builtin:smollm2-135m-instruct"}
        (folder / "adapter_config.json").write_text(json.dumps(about))


def add_votes(root: Path) -> None:
    """Write two evaluations, and what two people make of their answers."""
    prompts = {name: [one[0] for one in cases] for name, cases in CASES.items()}
    for at, name in enumerate(NAMES):
        said = {kind: [(case[1 + at], None) for case in cases] for kind, cases in CASES.items()}
        write_evaluation(
            root / "evals" / name,
            f"runs/{name}",
            said,
            suite="support",
            prompts=prompts,
            stakes={kind: TypeStakes(scorer="exact") for kind in CASES},
            started=at + 1,
        )
        _set_references(root / "evals" / name / "items.jsonl")
    sides = [EvalDirectory.open(root / "evals" / name) for name in NAMES]
    ballots = pair_ballots(paired(*sides), [str(one.path.resolve()) for one in sides])
    shorter = {case[1] for cases in CASES.values() for case in cases}
    with EvalStore(root / "evals" / "store.sqlite") as store:
        for voter, many, odd in (("安", 10, 5), ("Bo", 9, 7)):
            sitting = Sitting(store, voter, ballots)
            for number in range(many):
                ballot = sitting.current
                assert ballot is not None
                good = (ballot.left.text in shorter) == ballot.item.task_type.startswith("s")
                verdict = "tie" if number % odd == odd - 1 else "right" if good else "left"
                sitting.decide(verdict, seconds=2.5 + (number * 7 % 5) + len(voter))
        # Two who are under way, each at a ballot that is worth a picture.
        for voter, prompt in VOTERS.items():
            sitting = Sitting(store, voter, ballots)
            while sitting.current and sitting.current.item.messages[0]["content"] != prompt:
                sitting.decide("tie" if sitting.done % 4 == 3 else "left", seconds=4)


def _set_references(items: Path) -> None:
    """Give those prompts a reference that have one right answer."""
    right = {case[0]: case[1] for case in CASES["reasoning/common_sense"]}
    rows = [json.loads(line) for line in items.read_text("utf-8").splitlines()]
    for row in rows:
        row["reference"] = right.get(row["messages"][0]["content"])
    texts = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    items.write_text("".join(texts), encoding="utf-8")


class Scripted:
    """Answers as it was told to."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = iter(texts)

    def stream(self, conversation: Any, sampling: Any) -> Iterator[str]:
        """Yield the next answer in one piece."""
        yield next(self._texts)


def make_talk(root: Path, *, chinese: bool) -> Talk:
    """Lead a conversation with two models, vote on it and correct it."""
    cases = CASES["support/refund"]
    asked = [cases[1], CASES["identity/name"][0]] if chinese else [cases[0], cases[2]]
    speakers = [
        Speaker(name, Scripted([case[1 + at] for case in asked]), f"runs/{name}")
        for at, name in enumerate(NAMES)
    ]
    talk = Talk(speakers, [f"runs/{name}" for name in NAMES], root)
    system = (
        "你是网店的客服，回答简短、友好。"
        if chinese
        else "You help customers of a shop. Be brief and kind."
    )
    for case in asked:
        talk.say(case[0], TalkSettings(system=system))
        talk.wait()
        time.sleep(0.01)
        talk.vote(1, not chinese or case is asked[0], voter="Li")
    corrected = "我是丹炉客服小丹，有什么可以帮您？" if chinese else ""
    if corrected:
        talk.vote(1, False, voter="Li", corrected=corrected)
    else:
        talk.vote(0, False, voter="Li")
    return talk


def add_dataset(root: Path) -> None:
    """Import records of three task types, a few of them faulty, and check them."""
    said = {
        "identity/name": ("Who are you?", "I am Danlu, a small model that was tuned in a furnace."),
        "general/facts": ("What is the capital of France?", "The capital of France is Paris."),
        "通用/常识问答": ("中国的首都是哪里？请用一句话回答。", "中国的首都是北京。"),
    }
    odd = {38: "As an AI language model, I cannot say.", 39: " "}
    records = []
    for task_type, (asked, answer) in said.items():
        area = task_type.partition("/")[0]
        for number in range(40):
            own = odd.get(number, answer)
            turns = (Message("user", f"{asked}{' ' * (number % 3)}"), Message("assistant", own))
            records.append(Record(f"{area}-{number}", task_type, turns))
    write_records(records, root / "records.jsonl")
    source = Source(str(root / "records.jsonl"), format="danlu")
    store = Store(root / "datasets")
    version = import_files(store, [source], name=DATASET)
    job = root / ".danlu" / "studio" / "made-check"
    job.mkdir(parents=True)
    command = ["data", "check", version.id, "--json", f"--store={store.path}"]
    with (job / "stdout.txt").open("w") as printed:
        subprocess.run(
            [sys.executable, "-m", "danlu", *command, f"--findings={job / 'findings.jsonl'}"],
            stdout=printed,
            check=True,
        )
    folder = check_index.folder_of(root / ".danlu" / "studio" / "data", version, job.name)
    check_index.build(folder, job)


def add_sweep(folder: Path) -> None:
    """Write what a sweep over rank and learning rate would leave."""
    trials = []
    for rank in (8, 32):
        for power, rate in enumerate(("1e-5", "1e-4", "3e-4", "1e-3", "1e-2")):
            best = 1.05 + 0.16 * (power - 2.6 + 0.01 * rank) ** 2
            curve = [
                [step, best + (2.4 - best) * math.exp(-step / (60 - 10 * power))]
                for step in range(0, 201, 20)
            ]
            settings = {"training.learning_rate": rate, "tuning.lora_rank": str(rank)}
            types = {"identity/name": best - 0.4, "general/facts": best + 0.2}
            one = {
                "settings": settings,
                "run": f"sweeps/rate/runs/{rank}-{rate}",
                "loss": curve[-1][1],
            }
            trials.append(
                {**one, "step": 200, "task_types": types, "curve": curve, "seconds": 95.0}
            )
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text(json.dumps({"trials": trials, "left": []}))
