"""What the model gives a text after a prompt: its log-probability, and scores made of that.

Lives here: the scorers (``scorers``, without torch), one pass over a forest of all options
(``forest``, with torch), and asking it for a suite (``asking``). Never here: generated answers.
"""
