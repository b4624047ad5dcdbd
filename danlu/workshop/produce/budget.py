"""What may be spent, and what was."""

from __future__ import annotations

from dataclasses import dataclass

from danlu.errors import DanluError

MILLION = 1_000_000


@dataclass(frozen=True)
class Prices:
    """What tokens cost, in whatever money the budget is in.

    Attributes:
        prompt: For a million tokens of prompts.
        completion: For a million tokens of answers.

    Example:
        >>> Prices(0.5, 2.0).of(1000, 500)
        0.0015
    """

    prompt: float = 0.0
    completion: float = 0.0

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return the price of one answer."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / MILLION


@dataclass(frozen=True)
class Budget:
    """What one command may spend; what the cache answers costs nothing.

    Attributes:
        tokens: Prompts and answers together; None is no limit.
        money: In the money of the prices; None is no limit.

    Raises:
        DanluError: If a limit is not above 0.
    """

    tokens: int | None = None
    money: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("tokens", self.tokens), ("money", self.money)):
            if value is not None and not value > 0:
                raise DanluError(f"the budget in {name} is {value}; it must be above 0.")


class Purse:
    """The budget as it is being spent.

    A request is begun only if the most that it and those under way may cost is still there: so the
    budget is not passed, but for prompts that have more tokens than was guessed.

    Attributes:
        prompt_tokens: Spent so far.
        completion_tokens: Spent so far.
        money: Spent so far.
        set_aside: Requests under way.
    """

    def __init__(self, budget: Budget, prices: Prices) -> None:
        if budget.money is not None and prices == Prices():
            raise DanluError(
                "a budget in money needs the prices of tokens: what a million tokens of prompts "
                "and of answers cost."
            )
        self.budget, self.prices = budget, prices
        self.prompt_tokens = self.completion_tokens = 0
        self.money = 0.0
        self.set_aside = 0
        self._held_tokens = 0
        self._held_money = 0.0

    @property
    def tokens(self) -> int:
        """Spent so far, prompts and answers."""
        return self.prompt_tokens + self.completion_tokens

    def take(self, prompt_tokens: int, completion_tokens: int) -> bool:
        """Set aside the most that a request may cost; False if that is not there."""
        tokens = prompt_tokens + completion_tokens
        money = self.prices.of(prompt_tokens, completion_tokens)
        limit_tokens, limit_money = self.budget.tokens, self.budget.money
        if limit_tokens is not None and self.tokens + self._held_tokens + tokens > limit_tokens:
            return False
        if limit_money is not None and self.money + self._held_money + money > limit_money:
            return False
        self.set_aside += 1
        self._held_tokens += tokens
        self._held_money += money
        return True

    def give_back(self, prompt_tokens: int, completion_tokens: int) -> None:
        """End what ``take`` began with the same numbers."""
        self.set_aside -= 1
        self._held_tokens -= prompt_tokens + completion_tokens
        self._held_money -= self.prices.of(prompt_tokens, completion_tokens)

    def spend(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Count what an answer has cost."""
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        self.money += self.prices.of(prompt_tokens, completion_tokens)

    def spent(self) -> str:
        """Say what was spent, against which limit."""
        told = f"{self.tokens:,} tokens"
        if self.budget.tokens is not None:
            told += f" of {self.budget.tokens:,}"
        if self.prices != Prices():
            told += f", {self.money:.4f}"
            if self.budget.money is not None:
                told += f" of {self.budget.money:g}"
            told += " in money"
        return told
