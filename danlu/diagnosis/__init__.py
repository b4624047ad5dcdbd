"""Diagnosis: from a run to findings with evidence, a confidence and a remedy.

One file per probe; each returns a ``danlu.runs.findings.ProbeReport``. Probes read the run
directory and ask models; they never reach into training.
"""
