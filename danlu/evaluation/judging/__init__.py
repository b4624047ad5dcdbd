"""A model as the judge: scores per dimension, usable or not, pairs in both orders, its biases.

Lives here: the plan (``plan``: dimensions, bands, what is usable), the fence around what is judged
(``fence``), how a judge is asked and read (``asking``, ``reading``, ``prompts/``), answers one by
one (``scoring``) and two by two (``pairwise``), and what people's labels make of both
(``calibrate``). A judge is whatever the workshop's engine asks: an endpoint or a model in this
process. Never here: torch, or people's own verdicts (``danlu.evaluation.voting``).
"""
