"""What a team's evaluations hold in common: votes, judgements, and an index of evaluations.

One SQLite file by default, in write-ahead mode, so that several processes may read and write it at
once; or a PostgreSQL database by its URL (``postgresql+psycopg://...``, its driver installed by
whoever wants it). Lives here: the tables (``tables``), opening (``database``), and what is written
and asked (``votes``, ``judgements``, ``index``, ``keys``). An evaluation's own files stay the truth
about it; what is here can be found by content and by who said it. SQLAlchemy is imported when a
store is opened. Never here: the terminal, or a judge.
"""
