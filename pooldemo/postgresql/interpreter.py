"""Which Python the backend runs on: one with its global lock (GIL). Without it nothing here was ever tested."""

import platform
import sys

from django.core.exceptions import ImproperlyConfigured


def refuse_without_gil() -> None:
    """Raise ImproperlyConfigured where this process runs without it. A free-threaded build that has it switched on, as
    the import of gevent or psycopg2 does, is fine."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise ImproperlyConfigured(
            f"ENGINE {__package__!r} needs Python's global lock (GIL), and this free-threaded Python "
            f"{platform.python_version()} runs without it: start it with PYTHON_GIL=1, or use the usual build."
        )
