"""The latency card: how long a server lets its users wait, as ``time = k·x + b``.

What lives here: asking any OpenAI-compatible server on a clock, fitting what was measured, and the
card as rows, table, picture and page. What never lives here: answering. Nothing imports torch.
"""
