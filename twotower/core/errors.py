"""The one error that a user is meant to see."""


class InputError(ValueError):
    """Bad input: one line that names the file, row or field and says what was expected.

    Libraries raise it, commands print it and exit with code 2; anything else that reaches the user is a bug.
    """
