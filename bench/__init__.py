"""What Danlu is measured by: ``make bench``.

Each contender trains in a process of its own, so that its peak memory is its own, and they take
turns, so that a slow minute of the machine does not fall on one of them alone. Nothing here is
imported by ``danlu``, and nothing here is a test: a goal that is missed is printed as missed.
"""
