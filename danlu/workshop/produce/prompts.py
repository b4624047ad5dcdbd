"""The prompts by which makers ask, in Chinese and English, in files that a user can replace.

A prompt is ``<language>/<name>.md``: a Jinja template whose part after a line ``@system`` is the
system message, and after ``@user`` the user's. A folder of one's own stands before the shipped one,
file by file.
"""

from __future__ import annotations

import hashlib
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from danlu.errors import DanluError, did_you_mean
from danlu.records.record import Message
from danlu.workshop.likeness.text import has_han, units

if TYPE_CHECKING:
    from jinja2 import Environment

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = ("zh", "en")
SHIPPED = Path(__file__).parent / "prompts"
SUFFIX = ".md"
_PART = re.compile(r"^@(system|user)[ \t]*\n", re.MULTILINE)


class PromptError(DanluError):
    """A prompt file that is missing or broken."""


def language_of(text: str) -> Language:
    """Say in which of the two languages a text is to be answered: by most of its units.

    Example:
        >>> language_of("用 Python 写一个排序函数"), language_of("Say 你好 to all the guests")
        ('zh', 'en')
    """
    found = units(text)
    return "zh" if 2 * sum(has_han(unit) for unit in found) >= max(1, len(found)) else "en"


class Prompts:
    """Prompt files, shipped and one's own.

    Args:
        folder: One's own; a file there takes the place of the shipped one of the same name. None is
            none.
        shipped: Folder of the prompts that come with Danlu.

    Raises:
        PromptError: If the folder is not there.
    """

    def __init__(self, folder: Path | str | None = None, *, shipped: Path = SHIPPED) -> None:
        self.shipped = shipped
        self.folder = None if folder is None else Path(folder)
        if self.folder is not None and not self.folder.is_dir():
            raise PromptError("there is no such folder of prompts.", where=str(folder))

    def settings(self) -> str:
        """Return a fingerprint of all prompts: another text, other answers."""
        digest = hashlib.blake2b(digest_size=8)
        for name in sorted(self._files):
            digest.update(f"{name}\0{self._files[name].read_text('utf-8')}\0".encode())
        return digest.hexdigest()

    def has(self, name: str, language: Language) -> bool:
        """Whether there is such a prompt."""
        return f"{language}/{name}" in self._files

    def lines(self, name: str, language: Language) -> list[str]:
        """Return a file's lines, for prompts that are a choice of phrasings.

        Raises:
            PromptError: If it is not there, or empty.
        """
        found = [line.strip() for line in self._text(name, language).splitlines() if line.strip()]
        if not found:
            raise PromptError("the file has no phrasing.", where=str(self._path(name, language)))
        return found

    def render(self, name: str, language: Language, /, **values: Any) -> tuple[Message, ...]:
        """Return the messages of a prompt.

        Raises:
            PromptError: If it is not there, or cannot be rendered.
        """
        pieces = _PART.split(self._text(name, language))
        parts = [("user", pieces[0]), *zip(pieces[1::2], pieces[2::2], strict=True)]
        messages = []
        for role, source in parts:
            text = self._fill(source, self._path(name, language), values)
            if text:
                messages.append(Message(role, text))
        return tuple(messages)

    def phrase(self, text: str, where: str, /, **values: Any) -> str:
        """Fill one phrasing."""
        return self._fill(text, Path(where), values)

    def _fill(self, source: str, path: Path, values: dict[str, Any]) -> str:
        from jinja2 import TemplateError

        try:
            text: str = self._environment.from_string(source).render(values)
        except TemplateError as error:
            raise PromptError(
                f"the prompt cannot be filled: {error}. It is given: {', '.join(sorted(values))}.",
                where=str(path),
            ) from error
        return text.strip()

    def _text(self, name: str, language: Language) -> str:
        return self._path(name, language).read_text("utf-8")

    def _path(self, name: str, language: Language) -> Path:
        try:
            return self._files[f"{language}/{name}"]
        except KeyError:
            hint = did_you_mean(f"{language}/{name}", self._files)
            raise PromptError(f"there is no prompt {language}/{name}.{hint}") from None

    @cached_property
    def _files(self) -> dict[str, Path]:
        found = {}
        for root in [self.shipped, self.folder] if self.folder else [self.shipped]:
            for path in sorted(root.rglob(f"*{SUFFIX}")):
                name = path.relative_to(root).as_posix().removesuffix(SUFFIX)
                if name.partition("/")[0] in LANGUAGES:
                    found[name] = path
        return found

    @cached_property
    def _environment(self) -> Environment:
        from jinja2 import StrictUndefined
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        return ImmutableSandboxedEnvironment(
            undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
        )
