"""What is asked and how it is scored: suites, read strictly, made from data, or written by others.

Lives here: the suite, reading it (``reading``), its items (``items``), other people's files as they
are (``formats``, one file each), making one from records (``making``), and the suites that ship
(``shipped``). Never here: a model, or torch.
"""

from danlu.evaluation.suites.reading import load_suite, shipped_suites
from danlu.evaluation.suites.suite import Suite

__all__ = ["Suite", "load_suite", "shipped_suites"]
