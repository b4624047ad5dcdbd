"""How much of a task a model can be taught before it forgets: bound, then bisect.

``knob`` is what is varied, ``search`` says which setting to try next, ``plan`` makes recipes of
settings, ``questions`` and ``measure`` score what a recipe came to, ``squeeze`` goes through it in
order, ``telling`` makes findings of it and ``written`` the page and the recipe to use.
"""
