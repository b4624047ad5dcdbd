"""From one silly mistake to the records that teach it: the pattern probe.

In the order of the work: ``words`` (what the case is made of), ``stock`` (what could stand in the
place of a word), ``variants`` (the case varied), ``clinging`` (which words must be there),
``teachers`` (the records that teach it), ``influence`` (a second opinion from gradients), ``cut``
(what to leave out, what to add), ``probe`` (all of it), ``show``.
"""
