"""What rnnbench raises: each error is a subclass of the builtin that is nearest in meaning."""


class InputError(ValueError):
    """An argument is wrong; the sentence names it, says what it was and what it must be."""


class UnsupportedError(NotImplementedError):
    """A backend cannot do this case; the sentence is what its ``supports`` answered."""


class ParityError(AssertionError):
    """A result differs from the float64 oracle by more than its budget."""
