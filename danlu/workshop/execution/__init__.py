"""Where the workshop's work is done: in this process, in several, or on a Ray cluster.

An executor applies a function to blocks of records and gives the results in order; what the
function does is the same everywhere. Never here: what an operation or a check decides.
"""
