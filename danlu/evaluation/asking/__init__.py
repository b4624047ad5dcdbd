"""Who is asked: a model in this process, or an endpoint, behind one small interface.

Every answer is kept by what it depends on (the model's weights, the messages, the sampling, the
seed), so that no evaluation asks what an earlier one has asked. ``local`` imports torch when it
opens a model; nothing else here does. Never here: scores.
"""
