"""Commands that pages start: child processes whose table is on the disk, so it outlives the studio.

Each job is a folder with what was asked, what was printed and how it ended; a lock on a file there
is held as long as it runs, by the process that keeps it, so no process id is ever mistaken.
"""
