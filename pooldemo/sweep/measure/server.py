"""The server under test: one stack at one size on a free loopback port, with its helpers, ready when it answers."""

import contextlib
import getpass
import json
import os
import re
import signal
import socket
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from site import getsitepackages as site_packages
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

from pooldemo.sweep import stacks
from pooldemo.sweep.measure import database, observe
from pooldemo.sweep.measure.process import Child, Ledger
from pooldemo.sweep.measure.target import Site, TrialError
from pooldemo.sweep.plan import base
from pooldemo.sweep.stacks.stack import ROOT, Stack, spread

READY_S = 30.0
ACCOUNT = "nobody"  # for helpers that refuse to run as root
# What would change the server behind the plan's back when it stood in the shell that started the sweep.
NOT_INHERITED = ("REUSE_CONNS", "MIN_CONNS", "GUNICORN_CMD_ARGS", "PROMETHEUS_MULTIPROC_DIR", "SCRIPT_NAME")
SETTINGS = "pooldemo.sweep.stacks.settings"
LIBRARIES = map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib"))
INSTALLED = [Path(each).resolve() for each in (*LIBRARIES, *site_packages())]
CONFIGURATION = Path(stacks.__file__).with_name("gunicorn_conf.py")
NO_APPLICATION = 4  # gunicorn's exit code
# What gunicorn says then, among lines of its log, and of warnings where PYTHONWARNINGS or PYTHONDEVMODE asks for them.
NO_OBJECT = re.compile(r"^((?:Failed to|Function reference|Application object|TypeError:) .*?)\.?$", re.MULTILINE)
NO_MODULE = re.compile(r"^ModuleNotFoundError: (No module named '([^']*)'.*)", re.MULTILINE)
# What cannot be called as an application, or answers nothing that could be sent: no frame stands below gunicorn's own.
NO_WSGI = re.compile(r'^  File ".*/gunicorn/workers/.*\n    .*\n(?:[ ^~]+\n)?TypeError: (.*)', re.MULTILINE)


class Server:
    """A target: one stack at one size, started at once; leaving the block stops it and its helpers. `told`: it logs
    each error of a page, which Django mails to administrators otherwise.

    Raises TrialError when something that it needs does not start. Blocks only for the helpers.
    """

    def __init__(
        self,
        stack: Stack,
        size: int,
        workers: int,
        users: int,
        site: Site,
        ledger: Ledger,
        name: str = "",
        port: int = 0,
        told: bool = False,
    ) -> None:
        self.stack, self.port, self._site = stack, port or free_port(), site
        self.url = f"http://127.0.0.1:{self.port}"
        self.pool = site.pool if stack.pool_path else None
        self.probe_path = site.probe_path
        own = base(stack.name)
        self.application_name = (name or f"sweep-{own}-{size}-{os.getpid()}")[:63]  # libpq's limit
        self.names = (self.application_name,)
        self._stop = contextlib.ExitStack()
        folder = self._stop.enter_context(ledger.temporary())
        self._settings_read = folder / "settings-read"
        fields = {
            "python": sys.executable if site.settings else stack.python,
            "application": site.application,
            "bind": f"127.0.0.1:{self.port}",
            "port": self.port,
            "workers": workers,
            "size": size,
            "users": users,
            "worker_connections": max(1000, 2 * users),
            "folder": folder,
            "name": self.application_name,
            "account": ACCOUNT,
        }
        try:
            database_url = self._start_helpers(fields, site.database_url, ledger, folder)
            env = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED} | {
                "MAX_CONNS": str(size),
                "WEB_CONCURRENCY": str(workers),
                "POOL_STACK": own if stack.database else "pooldemo",
                "PGAPPNAME": self.application_name,
                "PYTHONUNBUFFERED": "1",
            }
            if site.settings:
                env |= {"DJANGO_SETTINGS_MODULE": SETTINGS, "POOLDEMO_SETTINGS": site.settings}
                env["POOLDEMO_SETTINGS_READ"] = str(self._settings_read)
                env |= {"POOLDEMO_LOG_ERRORS": "1"} if told else {}
                env |= {"POOLDEMO_OWN_STACK": site.stack} | ({"POOL_STACK": ""} if own == site.stack else {})
                env["POOLDEMO_OPTIONS"] = json.dumps(dict(stack.options))
                env["PYTHONPATH"] = os.pathsep.join(search_path(sys.path, stack.root))
            else:
                env["DATABASE_URL"] = database.server_url(database_url, stack.options)
                for name in ("DEBUG", "POOL_MODE"):  # the stack is named for the one, and wants none of the other
                    env.pop(name, None)
            env |= spread(workers)
            env |= {name: value.format(**fields) for name, value in stack.env.items()}
            command = [part.format(**fields) for part in stack.command]
            if site.settings and "gunicorn" in command:
                command += ["--config", str(CONFIGURATION)]
            log = folder / "server.log"
            # SIGINT is gunicorn's quick way out: nobody asks any more, and the gentle one takes a second.
            self._child = Child(f"{stack.name} server", command, ledger, log, env, stack.root, signal.SIGINT)
            self._stop.callback(self._child.stop)
        except BaseException:
            self._stop.close()
            raise

    def _start_helpers(self, fields: dict[str, object], database_url: str, ledger: Ledger, folder: Path) -> str:
        """Start each helper, wait until it accepts, and answer the URL that the server is to use."""
        parts = urlsplit(database_url)
        query = dict(parse_qsl(parts.query))  # the embedded server's socket is named here
        host = query.get("host") or unquote(parts.hostname or "")
        real = {
            "user": unquote(parts.username or getpass.getuser()),
            "password": unquote(parts.password or ""),
            "host": host,
            "dbport": query.get("port") or parts.port or 5432,
            "account": Path(host).owner() if host.startswith("/") else "nobody",
            "dbname": parts.path.lstrip("/"),
        }
        for number, helper in enumerate(self.stack.helpers):
            port = free_port()
            own = fields | real | {"helper_port": port}
            for path, text in helper.files.items():
                (folder / path).write_text(text.format(**own))
            env = dict(os.environ) | {name: value.format(**own) for name, value in helper.env.items()}
            command = [part.format(**own) for part in helper.command]
            child = Child(f"{self.stack.name} helper", command, ledger, folder / f"helper{number}.log", env, ROOT)
            self._stop.callback(child.stop)
            deadline_s = time.monotonic() + READY_S
            while not _accepts(port):
                if child.exit_code is not None or time.monotonic() > deadline_s:
                    raise TrialError(f"{command[0]} did not start: {child.tail() or 'it said nothing'}")
                time.sleep(0.02)
            if helper.database_url is not None:
                database_url = helper.database_url.format(**own)
        return database_url

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Blocks until it answers: 200, where the project has a page for that. Raises TrialError when it ends first or
        takes longer than `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        said = "nothing"
        path = self._site.ready_path and self.stack.ready_path
        while time.monotonic() < deadline_s:
            self.check()
            try:
                status, body = observe.get(self.url, path or "/", timeout_s=2 if path else timeout_s)
                if status == 500 and (reasons := NO_WSGI.findall(self._child.tail(100))):
                    raise TrialError(
                        f"{self._site.application} is no WSGI application ({reasons[-1]}): name one with --wsgi, and "
                        "where a function makes it, call that: --wsgi 'django.core.wsgi:get_wsgi_application()'"
                    )
                if status == 200 or not path:
                    break
                said = f"{status} {body[:200].decode(errors='replace')}"
            except OSError as error:
                said = str(error)
            time.sleep(0.02)
        else:
            raise TrialError(
                f"{self.stack.name} was not ready in {timeout_s:g} s: {path or '/'} gave {said}. {self._child.tail()}"
            )
        if self._site.settings and not self._settings_read.exists():
            raise TrialError(
                f"{self._site.application} does not take its settings from the environment, so no size can be set: "
                f'write os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{self._site.settings}") there'
            )

    def check(self) -> None:
        """Raises TrialError when it has ended."""
        if (code := self._child.exit_code) is not None:
            name = self._site.application
            if "{application}" in self.stack.command and (reason := no_application(name, code, self._child.tail())):
                raise TrialError(
                    f"gunicorn finds no application {name} ({reason}): give --wsgi the module of one, as in "
                    "--wsgi mysite.wsgi, or --wsgi MODULE:NAME where its name is not `application`"
                )
            lacks = "\nIt ran in a copy of that commit, which has no file that git ignores, as a .env"
            raise TrialError(f"the server of {self.stack.name} {self._child.ending}{lacks * (self.stack.root != ROOT)}")

    @property
    def said(self) -> str:
        return self._child.tail(6)

    @property
    def pid(self) -> int:
        """Its first process."""
        return self._child.pid

    def workers(self) -> set[int]:
        return self._child.children()

    def cpu_s(self) -> Mapping[int, float]:
        return self._child.cpu_s()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.close()


def no_application(application: str, code: int, said: str) -> str:
    """Why gunicorn, which ended with `code`, found no such application, in its own words; empty: it ended otherwise, as
    where that misses a module."""
    if code == NO_APPLICATION:
        return "".join(NO_OBJECT.findall(said)[:1])
    module, _, _ = application.partition(":")
    found = NO_MODULE.findall(said)
    return found[-1][0] if found and f"{module}.".startswith(f"{found[-1][1]}.") else ""


def search_path(path: Sequence[str], root: Path) -> list[str]:
    """Where a server of the project finds what this process finds beside what is installed: its manage.py may have
    added `src`. Of a commit that stands in the folder `root` it is that one's."""
    found = []
    for place in (Path(each).resolve() for each in path if each):
        its = root / place.relative_to(ROOT) if place.is_relative_to(ROOT) else place
        if place.exists() and not any(place.is_relative_to(each) for each in INSTALLED):
            found.append(str(its if its.exists() else place))
    return found


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) == 0
