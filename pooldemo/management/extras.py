"""What a command needs beside Django, said in a sentence before that is imported: `from ... import sweep as needed`.

The names here are those of the package's extras (pyproject.toml); importing one ends the process where it is missing.
"""

import sys
from importlib.util import find_spec

MODULES = {
    "sweep": ("gevent", "gunicorn", "locust", "psutil", "psycogreen", "psycopg2", "rich"),
    "metrics": ("prometheus_client", "rich"),
}


def __getattr__(name: str) -> str:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if missing := [module for module in MODULES[name] if find_spec(module) is None]:
        sys.exit(f"This command needs {', '.join(missing)}, which are not installed: pip install 'pooldemo[{name}]'")
    return name
