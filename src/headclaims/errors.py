"""The errors an auditor can meet: each is one line that says what came and what was wanted."""


class BadInput(ValueError):  # noqa: N818  # says what is bad, which "Error" would not
    """An option, a word file or a checkpoint that cannot be audited; the run stops with exit status 2."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))


class BadCheckpoint(BadInput):
    """A checkpoint that is not there, is damaged, or is no evidence of a kind this suite reads."""


class OfAnotherSet(BadCheckpoint):
    """A checkpoint that one claim set has nothing to say of.

    Its head is not there or can't be chosen on this evidence, or the checkpoint is another set's counterfeit.
    """


class NotAssessable(ValueError):  # noqa: N818  # a verdict, not a failure
    """The evidence lacks what a measurement needs, or a precondition fails; the message is the reason."""


class NotSupported(AssertionError):  # noqa: N818  # a verdict, not a failure
    """A claim was measured and is not supported, or undecided; the message is what a reader of the failure needs."""
