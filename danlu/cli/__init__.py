"""The ``danlu`` command: arguments in, text out; one module per command.

Lives here: parsing of arguments, printing of results, and the one place where errors become words
and exit codes. Never here: the work itself, or an import at module level of anything slow.
"""
