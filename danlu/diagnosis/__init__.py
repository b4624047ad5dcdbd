"""Diagnosis: from a run to findings with evidence, a confidence and a remedy.

One file per probe, and one line in ``danlu.diagnosis.probes``; each returns findings that lie in
the run directory as a ``danlu.runs.findings.ProbeReport``. Probes read the run directory and ask
models; they never reach into training.
"""
