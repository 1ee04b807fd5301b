"""Practice problems whose answers are computed, never guessed: no model, exact arithmetic.

`families` reads the families, `drawing` makes a problem of one, `bank` goes on without end.
"""
