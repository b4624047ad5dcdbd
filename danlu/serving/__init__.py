"""Serving: talking to a model, in a program and in the terminal.

What lives here: ``Chat`` (a model with a history) and the terminal loop. What never lives here:
training, and how answers are computed.
"""
