"""gunicorn.conf.py, read as gunicorn reads it: what it refuses before it starts, and what it leaves behind."""

import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from served import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def conf(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the file defines."""
    monkeypatch.setenv("PGAPPNAME", "")  # it sets what is unset
    return runpy.run_path(str(ROOT / "gunicorn.conf.py"))


@pytest.mark.parametrize(
    ("preload", "workers", "said"),
    [(True, 1, "preload_app is not accepted: .* one connection for all greenlets"), (False, 0, "0 workers are not")],
)
def test_it_refuses_in_words_what_cannot_serve(conf: dict[str, Any], preload: bool, workers: int, said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        conf["on_starting"](SimpleNamespace(cfg=SimpleNamespace(preload_app=preload, workers=workers)))


def test_it_says_that_a_port_is_none(conf: dict[str, Any]) -> None:
    config = SimpleNamespace(preload_app=False, workers=1, reuse_port=False, address=[("127.0.0.1", 99999)])
    with pytest.raises(SystemExit, match="99999 is no port: give one up to 65535"):
        conf["on_starting"](SimpleNamespace(cfg=config))


@pytest.mark.parametrize("given", [None, "", " "])
@pytest.mark.parametrize(
    ("addresses", "exposed"),
    [
        ([("127.0.0.1", 8000), ("::1", 8000, 0, 0), "/run/site.sock"], ""),
        ([("0.0.0.0", 8000)], "yes"),
        ([("127.0.0.1", 8000), ("10.0.0.7", 8000)], "yes"),
        ([("::", 8000, 0, 0)], "yes"),
    ],
)
def test_it_tells_the_site_where_others_than_this_machine_reach_it(
    conf: dict[str, Any], addresses: list[Any], exposed: str, given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sends a Host of ALLOWED_HOSTS, loopback's, could have loaded the database, or read statements."""
    monkeypatch.setenv("EXPOSED", given or "")
    if given is None:
        monkeypatch.delenv("EXPOSED")
    sockets = [SimpleNamespace(sock=SimpleNamespace(getsockname=lambda name=name: name)) for name in addresses]
    conf["when_ready"](SimpleNamespace(LISTENERS=sockets))
    assert os.environ.get("EXPOSED", "").strip() == exposed


@pytest.mark.parametrize("url", ["", "postgres://me@db.example/shop"])
@pytest.mark.parametrize("way", ["ends", "is interrupted", "has failed"])
def test_it_stops_the_embedded_postgresql_however_it_ends(tmp_path: Path, url: str, way: str) -> None:
    """Where only an end that gunicorn's own hook hears of counted, a port or a signal at the start left it running."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "start.py").write_text("print('started', flush=True)\n" + STARTS[way])
    (tmp_path / "manage.py").write_text("import sys; print(*sys.argv)\n")
    (tmp_path / "gunicorn.conf.py").write_text((ROOT / "gunicorn.conf.py").read_text())
    (tmp_path / "served.py").write_text(SERVED)
    env = os.environ | {"DATABASE_URL": url, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "served.py"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=PATIENCE_S)
    stopped = [] if url else ["started", "manage.py postgres stop --unless-asked"]
    assert (done.stdout.splitlines(), done.stderr) == (stopped, "")
    assert done.returncode == (0 if url else CODES[way])


def test_its_workers_own_the_folder_in_which_they_meet(
    conf: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With --user they could not write there: each worker's numbers were shown as those of all, without a word."""
    owners = []
    monkeypatch.setattr(os, "chown", lambda _, *owner: owners.append(owner))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("POOLDEMO_SNAPSHOTS", "")
    monkeypatch.setenv("DATABASE_URL", "postgres://me@db.example/shop")
    config = SimpleNamespace(preload_app=False, workers=1, reuse_port=True, uid=65534, gid=65534)
    conf["on_starting"](SimpleNamespace(cfg=config, handle_hup=None))
    assert owners == [(65534, 65534)]


CODES = {"ends": 0, "is interrupted": 130, "has failed": 2}
STARTS = {
    "ends": "",
    "is interrupted": "import os, signal\nsignal.signal(2, signal.SIG_DFL)\nos.kill(os.getppid(), 15)\nsignal.pause()",
    "has failed": "raise SystemExit(2)",
}
SERVED = """
import os, runpy
from types import SimpleNamespace
conf = runpy.run_path("gunicorn.conf.py")
config = SimpleNamespace(preload_app=False, workers=1, reuse_port=True, uid=os.getuid(), gid=os.getgid())
conf["on_starting"](SimpleNamespace(cfg=config, handle_hup=None))
if not os.fork():
    raise SystemExit  # a worker, which ends before it
os.wait()
"""


@pytest.mark.parametrize("url", ["", "postgres://me@db.example/shop"])
@pytest.mark.parametrize("master", ["0", "os.getppid()", "os.getpid()"])
def test_a_worker_stops_the_embedded_postgresql_of_a_master_that_was_killed(
    tmp_path: Path, url: str, master: str
) -> None:
    """gunicorn calls this also in the master, of a worker that is gone before it is told to end."""
    (tmp_path / "manage.py").write_text("import sys; print(*sys.argv)\n")
    (tmp_path / "gunicorn.conf.py").write_text((ROOT / "gunicorn.conf.py").read_text())
    script = "import os, runpy; from types import SimpleNamespace; conf = runpy.run_path('gunicorn.conf.py')"
    command = [sys.executable, "-c", f"{script}; conf['worker_exit'](None, SimpleNamespace(ppid={master}))"]
    env = os.environ | {"DATABASE_URL": url}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    stops = master == "0" and not url
    assert (done.stdout, done.stderr) == ("manage.py postgres stop --unless-asked\n" * stops, "")


@pytest.mark.parametrize(("master", "said"), [("0", "postgres stop --unless-asked\n"), ("os.getppid()", "")])
def test_its_start_stops_the_embedded_postgresql_of_a_master_that_was_killed(master: str, said: str) -> None:
    """Before its first worker nobody else is left."""
    script = "import os; from project import start; start.ensure_database = start.ensure_tables = lambda: None; "
    script += f"os.execv = lambda _, command: print(*command[2:]); start.main({master})"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


@pytest.mark.parametrize("number", ["SIGTERM", "SIGQUIT"])
def test_a_worker_ends_that_is_told_to_before_gunicorn_has_given_it_handlers(number: str) -> None:
    """Its master's noted the signal for nobody: Ctrl-C in the first second took the thirty of graceful_timeout."""
    script = FORKED.format(number=number)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


FORKED = """
import runpy, signal
from types import SimpleNamespace
conf = runpy.run_path("gunicorn.conf.py")
signal.signal(signal.{number}, lambda *_: None)
conf["post_fork"](None, SimpleNamespace(handle_quit=None))
signal.raise_signal(signal.{number})
print("goes on")
"""


def test_a_worker_hears_once_that_it_is_to_end(conf: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Ctrl-C while it loads both the terminal and the master tell it: it ended with a traceback."""
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    heard: list[int] = []
    worker = SimpleNamespace(handle_quit=lambda number, frame: heard.append(number))
    conf["post_fork"](None, worker)
    worker.handle_quit(signal.SIGINT, None)
    worker.handle_quit(signal.SIGQUIT, None)
    assert heard == [signal.SIGINT]


@pytest.mark.parametrize(("ended", "code"), [(2, 3), (0, 0)])
def test_a_worker_that_is_told_to_end_while_it_loads_has_not_failed(ended: int, code: int) -> None:
    """gunicorn's own way is SystemExit(0), and Ctrl-C in its first seconds was an error of the start."""
    script = f"import sys; from project import start; start.ensure_database = lambda: sys.exit({ended})"
    done = subprocess.run([sys.executable, "-c", f"{script}; import project.wsgi"], cwd=ROOT)
    assert done.returncode == code


@pytest.mark.parametrize(("is_there", "does"), [(True, "load anew"), (False, "end")])
def test_it_ends_with_its_terminal(
    conf: dict[str, Any], monkeypatch: pytest.MonkeyPatch, is_there: bool, does: str
) -> None:
    did: list[str] = []
    server = SimpleNamespace(handle_hup=lambda: did.append("load anew"), handle_int=lambda: did.append("end"))
    monkeypatch.setattr(os, "isatty", lambda _: True)
    conf["end_with_terminal"](server)
    monkeypatch.setattr(os, "isatty", lambda _: is_there)
    server.handle_hup()
    assert did == [does]
