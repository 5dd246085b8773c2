"""Errors a user can act on: one line that names the thing, its value, what was allowed and the next step."""


class WeightsError(Exception):
    """Base of every error this package raises on purpose; the command line shows it as one line."""


class UnreadableFile(WeightsError):
    """A path that is not there, is not a regular file, or may not be opened."""


class BadWeightFile(WeightsError):
    """A file, or a set of tensors, that is not a sound weight file; names the first thing that is wrong."""


class OutputExists(WeightsError):
    """An output that is already there, and nobody asked to replace it."""


class UnwritableOutput(WeightsError):
    """An output that cannot be written: no folder, no permission, no space."""


class UnknownFormat(WeightsError):
    """A file suffix that stands for no format this package reads or writes."""


class MissingPackage(WeightsError):
    """A format whose optional package is not installed."""


class NameStyleError(WeightsError):
    """Tensor names that cannot be translated from one style to another."""


def first_line(error: BaseException) -> str:
    """What an error of somebody else says, as one line; its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
