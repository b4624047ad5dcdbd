"""Conversations of the studio: models in processes of their own, talks, records made of them.

Lives here: the process that holds models (``worker``), which of them are in memory (``pool``), one
conversation (``talk``), all of them (``talks``), and saving them as records (``saved``). What is
said, kept and voted on is ``danlu.serving.session``, as in ``danlu chat``. Never here: torch, which
only the worker loads.
"""
