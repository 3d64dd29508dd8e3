"""A stack: one server under test, and how it is started. What it needs, what it is called, what is known of it.

Nothing here starts a process (`measure/server.py` does) and nothing imports Django: the site's settings come here.
"""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pooldemo.sweep.workloads import CHOICES

# The folder of the project that is swept, that of its manage.py: commands run here; `venv` and the remedies are
# relative to it. A command that is no manage.py is typed there.
ROOT = Path(sys.argv[0]).resolve().parent if Path(sys.argv[0]).name == "manage.py" else Path.cwd()

RUN_FOLDER = ROOT / ".local" / "run"
"""Where a sweep writes while it runs."""
FROM_PAGE = "POOLDEMO_FROM_PAGE"
"""In the environment of a sweep that a page has started."""


def make_folder(folder: Path) -> None:
    """Make it where it is missing, for its owner alone. What is in `.local` of somebody's project others do not list,
    and their git does not see."""
    local = folder.parent
    if local.name == ".local":
        with contextlib.suppress(FileExistsError):
            local.mkdir(mode=0o711, parents=True)  # as pooldemo.embedded.make_local makes it
            local.chmod(0o711)  # whatever the umask
        if not (ignored := local / ".gitignore").exists():
            ignored.write_text("*\n")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


GUNICORN = (
    "{python}", "-m", "gunicorn", "-k", "gevent", "--bind", "{bind}", "--workers", "{workers}",
    "--worker-connections", "{worker_connections}", "--no-control-socket", "--log-level", "warning", "{application}",
)  # fmt: skip


def spread(workers: int) -> dict[str, str]:
    """What a server's environment gives gunicorn, so that each worker has a socket of its own.

    Users keep their connections: from one socket the worker that is awake first may take them all, and the trial
    measures that one. By a hash they are spread. `--against GUNICORN_CMD_ARGS=` is without it.
    """
    return {"GUNICORN_CMD_ARGS": "--reuse-port"} if workers > 1 else {}


DatabaseConfig = dict[str, Any]


@dataclass(frozen=True)
class Helper:
    """A process that a stack needs beside its server (PgBouncer, say), started before it and stopped after it.

    `command` and `env` may use the same fields as a stack's, `{account}`, the name of one without rights, for a program
    that refuses to run as root, and `{helper_port}`: a free loopback port. It is ready
    when that port accepts. `files` are written into `{folder}`, made for the trial and deleted after it; the values
    of both are formatted. `database_url` is what the *server* gets in place of the real URL (None: unchanged),
    formatted with `{user}`, `{password}`, `{host}`, `{dbport}`, `{dbname}` of the real one, and `{account}`: who may
    enter its socket's folder (nobody, when it is reached by TCP), for helpers that do not run as root.
    """

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    database_url: str | None = None


@dataclass(frozen=True)
class Stack:
    """One server under test.

    `command` and the values of `env` are formatted with `{python} {application} {bind} {port} {workers} {size} {users}
    {worker_connections} {folder} {name}` (`{bind}` is what gunicorn's --bind takes). The environment always has
    MAX_CONNS, WEB_CONCURRENCY, POOL_STACK and PGAPPNAME besides, and DATABASE_URL where the project reads it.
    `database` turns the site's `DATABASES` entry into this stack's (None: another application). `venv` is the folder of
    the environment that it runs in (None: this one), `modules` what that must be able to import, `programs` what must
    be on the PATH, `root` the folder that it runs in, `options` what our pool has in place of the project's own ones,
    `remedy` the command that brings what is missing. `capped`: it has a knob for MAX_CONNS, so more connections than
    that are a broken promise. `pool_path` answers the pool's counters (None: it has none); `ready_path` answers 200
    as soon as it serves; `workloads` are those it can do.
    """

    name: str
    about: str
    command: tuple[str, ...] = GUNICORN
    env: Mapping[str, str] = field(default_factory=dict)
    database: Callable[[DatabaseConfig], DatabaseConfig] | None = None
    venv: str | None = None
    root: Path = ROOT
    options: Mapping[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    remedy: str = "make environment"
    helpers: tuple[Helper, ...] = ()
    capped: bool = True
    pool_path: str | None = "/pool/"
    ready_path: str = "/healthz"
    workloads: tuple[str, ...] = CHOICES

    @property
    def python(self) -> str:
        """The interpreter that it runs on."""
        return str(ROOT / self.venv / "bin" / "python") if self.venv else sys.executable

    def missing(self) -> str:
        """What this machine lacks to run it and how to have it, in one sentence; empty when nothing. Starts an
        interpreter at most."""
        lacks = [f"the program {each}" for each in self.programs if not shutil.which(each)]
        if not Path(self.python).exists():
            lacks.append(f"the environment {self.venv}")
        elif self.modules:
            test = "import importlib.util as u, sys; print(*[m for m in sys.argv[1:] if u.find_spec(m) is None])"
            command = [self.python, "-c", test, *self.modules]
            found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
            lacks += [f"the Python package {each}" for each in found.split()]
        return f"{self.name} needs {', '.join(lacks)}: {self.remedy}" if lacks else ""
