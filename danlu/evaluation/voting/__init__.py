"""People's verdicts on answers: blind, shuffled, remembered; and how far people agree.

Lives here: what is put to the vote (``ballots``), one person's sitting (``sitting``: the next
ballot, a verdict, undo), what came of it (``results``), labels for a judge (``labels``), and the
front in the terminal (``terminal``, ``keys``), which another front may replace. Votes are kept in
``danlu.evaluation.store``. Never here: a model.
"""
