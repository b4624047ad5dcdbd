"""Answers from a model: one ``Generator`` interface, whatever computes them.

What lives here: the interface, sampling, and the generator over in-process transformers
(``danlu.generation.local``; it imports torch, this package does not). What never lives here:
loading models, conversations' history, and judging answers.
"""

from danlu.generation.interface import Completion, Conversation, Generator, Sampling

__all__ = ["Completion", "Conversation", "Generator", "Sampling"]
