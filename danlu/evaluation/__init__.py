"""Is this version better than the last, where, and are we sure.

Lives here: ``statistics`` (plain functions over arrays), ``scorers`` (from an answer to a score,
one file each), ``judging`` (a model as the judge), ``voting`` (people), ``store`` (their verdicts
in a database), ``compare`` (two versions on the same prompts, per task type), ``causes`` (what
changed in the data of the task types that moved), ``compared`` (both, with the answers that moved),
``fluctuate`` (are regressions real), ``gate`` (may the new version go out), ``planning`` (how many
prompts it takes), ``show`` (in the terminal) and ``pages`` (as HTML). None of these imports torch.
Never here: anything that trains.
"""
