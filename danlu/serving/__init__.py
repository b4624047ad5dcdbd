"""Serving: talking to a model, in a program and in the terminal.

What lives here: ``Chat`` (a model with a history) and the terminal loop, classifiers as they are
used, and ``student`` (a small model that is trained on the spot, to label what is left). What never
lives here: how training is done, and how answers are computed.
"""
