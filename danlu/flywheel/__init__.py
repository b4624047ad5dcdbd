"""The flywheel: what users said of answers becomes better data, day by day.

Lives here: reading chat logs (``logs``), what was read before (``memory``), the rules that choose
(``signals``, ``chains``, ``choose``), whose votes count (``voters``), the better answers
(``better``), and one run of all of it (``run``). What serving writes down is
``danlu.records.capture``. Never here: torch, and loading a model.
"""
