"""The loop: order of records, optimizer and schedule, channel sums, checkpoints and resume.

What lives here turns prepared sequences and a model into a run directory. It never reads data
files itself, never renders a template, and never decides what is learned: that is in ``records``,
``sequences`` and ``objectives``.
"""
