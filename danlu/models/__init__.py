"""Models: where they come from, how they are read and saved, and which of their weights move.

What lives here: finding and loading a model (local folder, hub, GGUF file, the built-in one, a run
directory), tuning methods, new special tokens, saving, forest attention and the output head. What
never lives here: optimisation, data, and anything that generates text.
"""
