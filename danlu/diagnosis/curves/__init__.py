"""The curves probe: what the loss curves of a run say, in all and per task type; no model is asked.

``probe`` puts the question, ``curves`` holds what is read, ``statistics`` the tests that are used,
``detectors`` the list of signs; each sign is a function from curves to findings. The same functions
speak while a run goes on (``live``). Never here: torch.
"""

from danlu.diagnosis.curves.probe import Curves

__all__ = ["Curves"]
