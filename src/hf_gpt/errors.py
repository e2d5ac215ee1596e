"""The one exception that the command line turns into a message and exit code 2."""


class InputError(ValueError):
    """What a person gave cannot be used; the message names the field, the value and the mend."""
