"""The quickstart: teach the built-in model another name, and measure what it learned.

Lives here: the command's data (training records, held-out questions), its scoring, and the order
of its steps. Never here: how training or generation works, which is the same as for any run.
"""
