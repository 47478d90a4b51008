"""Errors that rnnbench raises: each is a subclass of the builtin that is nearest in meaning."""


class InputError(ValueError, RuntimeError):
    """An argument is wrong; the sentence names it, says what it was and what it must be.

    Also a RuntimeError: that is what torch.nn raises for a wrong shape, and what programs catch.
    """


class UnsupportedError(NotImplementedError):
    """A backend cannot do this case; the sentence is what its ``supports`` answered."""


class BrokenError(RuntimeError):
    """Raised where something to be measured cannot be built or does not run; says why."""
