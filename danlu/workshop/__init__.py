"""The data workshop: check, deduplicate, select, mix, split and version data by task type.

Lives here: operations from records to decisions (``decision``), the store of dataset versions with
their ledgers, checks, and the measures of text that all of these share. ``workshop.produce`` makes
data with a model. Never here: torch, or anything that a chat template makes of a record.
"""
