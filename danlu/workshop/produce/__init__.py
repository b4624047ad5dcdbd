"""Data made with a model: an engine that asks and forgets no answer, and the makers upon it.

Lives here: the engine (``engine``: requests, cache, pace, budget), what answers them (``endpoint``,
``in_process``), and the makers, one file each, which are operations as all of the workshop's. This
is the only part of the workshop that may import ``danlu.generation``, which lies above it. Never
here: torch, and loading a model.
"""
