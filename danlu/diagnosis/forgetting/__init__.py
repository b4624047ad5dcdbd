"""Forgetting: what a model could do before its training and cannot do now.

``general`` compares the shipped general suite and plain text before and after, ``signs`` looks for
dependence on the prompts of training, and ``probe`` puts them together.
"""
