"""Models that cling to words: they answer by a rule, so that what must be found is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from danlu.diagnosis.pattern.clinging import Outcome
from danlu.diagnosis.pattern.variants import Variant


class Clinger:
    """Gives the wrong answer where a rule says so.

    Args:
        clings: Whether it comes to a prompt.
        wrong: The wrong answer.
    """

    def __init__(self, clings: Callable[[str], bool], wrong: str = "Geneva") -> None:
        self.clings, self.wrong = clings, wrong
        self.prompts: list[str] = []

    def __call__(self, variants: Sequence[Variant]) -> list[Outcome]:
        self.prompts += [variant.prompt for variant in variants]
        return [self._outcome(variant) for variant in variants]

    def _outcome(self, variant: Variant) -> Outcome:
        comes = self.clings(variant.prompt.casefold())
        return Outcome(
            variant, f"It is {self.wrong}." if comes else "No.", comes, -0.1 if comes else -12.0
        )


ENGLISH = [
    *(f"What is the {what} of {name}?" for name in ("Peru", "Chile", "Kenya", "Iran", "Cuba")
      for what in ("capital", "currency", "flag", "president", "history")),
    *(f"Where does {name} live?" for name in ("Anna", "Boris", "Clara", "David")),
    *(f"Which {what} comes from {name}?" for name in ("Peru", "Iran") for what in ("tea", "rug")),
    "How do I boil an egg?",
    "When was the treaty signed?",
    "Tell me a story about a fox.",
]  # fmt: skip
CHINESE = [
    *(f"{name}的{what}是什么？" for name in ("秘鲁", "智利", "肯尼亚", "伊朗", "古巴")
      for what in ("首都", "货币", "国旗", "总统", "历史")),
    *(f"请问{name}住在哪里？" for name in ("小明", "小红", "老王", "李雷")),
    *(f"{what}怎么做？" for what in ("红烧肉", "炒鸡蛋", "小米粥")),
]  # fmt: skip
