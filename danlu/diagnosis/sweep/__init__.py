"""Several runs of one recipe, compared: over settings (sweep) and over amounts of data (scaling).

``trials`` trains them one after another and reads their scores; ``grid`` makes them of settings;
``page`` shows them; ``law`` and ``scaling`` say whether more data still helps.
"""
