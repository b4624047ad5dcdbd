"""Makers of special abilities: each record carries an expectation that code can check.

So each maker gives a training set and an evaluation set. Most ask no model: code knows the right
answer, and phrasings in Chinese and English stand in the prompt files. Where a model is given, it
only says otherwise what code has said, and code checks that nothing was lost.
"""
