"""What a command needs beside Django, said in a sentence before that is imported: `from ... import sweep as needed`.

The names here are those of the package's extras (pyproject.toml); importing one ends the process where it is missing,
with the exit code of what cannot be started: 1 is a verdict.
"""

import sys
from importlib.util import find_spec

MODULES = {
    "sweep": ("gevent", "gunicorn", "locust", "psutil", "psycogreen", "psycopg2", "rich"),
    "metrics": ("rich",),  # the commands do without prometheus_client
}


def __getattr__(name: str) -> str:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if missing := [module for module in MODULES[name] if find_spec(module) is None]:
        lacks = f"which {'is' if len(missing) == 1 else 'are'} not installed"
        sys.stderr.write(f"This command needs {', '.join(missing)}, {lacks}: pip install 'pooldemo[{name}]'\n")
        sys.exit(2)
    return name
