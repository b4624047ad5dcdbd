"""Fit: per task type, what an expert would decide: not learned, not general, overfitted, healthy.

``measured`` asks the models and counts, ``verdict`` decides by the counts alone, ``wording`` says
it with its numbers and remedies, and ``probe`` puts them together. Never here: the curves.
"""
