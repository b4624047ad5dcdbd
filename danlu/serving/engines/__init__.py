"""Other people's engines behind ``danlu serve``: llama.cpp and vLLM, each in a process of its own.

What lives here: choosing one, what it is started with, waiting for it and ending it. Requests reach
it through the gateway (``danlu.serving.gateway``). What never lives here: answering.
"""
