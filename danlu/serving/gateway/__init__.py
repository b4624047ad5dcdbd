"""The gateway: other OpenAI-compatible servers behind Danlu's keys, limits, metrics and capture.

What lives here: connections to them, passing requests and answers on as they are, and reading
along. What never lives here: answering, and starting engines (``danlu.serving.engines``). Nothing
here imports torch.
"""
