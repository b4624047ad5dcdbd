"""The studio: one local web application over what the commands wrote; it starts the same commands.

What lives here: pages and their scripts, sessions, the jobs that pages start. What never lives
here: a number that no file has, training, or any work on data that a command does not do too.
Nothing here imports torch when the studio starts.
"""
