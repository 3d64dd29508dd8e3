"""What Django's admin finds: sweeps and trials, and the way to the live pool."""

from . import sweeps, trials

__all__ = ["sweeps", "trials"]
