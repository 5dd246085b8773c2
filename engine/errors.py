"""Errors a user can act on: each message names the thing, its value, what was allowed and the next step."""


class EngineError(Exception):
    """Base of every error this package raises on purpose; the command line shows it as one line."""


class TraceError(EngineError):
    """A network could not be traced at all."""


class FitError(EngineError):
    """Stored tensors and a network do not go together."""


class AllocationError(EngineError):
    """Rates, budgets or a plan that cannot be met."""


class RecipeError(EngineError):
    """An unknown recipe, one that does not go with the network, or a record that contradicts itself."""


class CriterionError(EngineError):
    """An unknown criterion, or one that cannot score this network or these data."""


class ProofError(EngineError):
    """A narrow network does not equal its masked original; nothing was written."""


class DataError(EngineError):
    """Images that are missing, unreadable or of the wrong kind."""


class TrainingError(EngineError):
    """Training that cannot start, continue or resume."""


class ProcessError(EngineError):
    """One of the processes that share the work ended, or does not answer."""
