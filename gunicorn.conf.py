"""How gunicorn runs this site; it reads this file by itself, and the command line wins over it.

The master imports no Django: what is imported before gunicorn's monkey patch keeps thread locals, in which greenlets
find each other's connections. So whatever needs Django is done in a worker, after the patch.
"""

import atexit
import contextlib
import errno
import ipaddress
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import psutil

worker_class = "gevent"
workers = int(os.environ.get("WEB_CONCURRENCY") or 1)
worker_connections = 2000  # clients per worker; one above it waits unanswered in the kernel's queue
bind = "127.0.0.1:8000"  # this machine only: the workloads are made to load it
keepalive = 75  # seconds; a load generator's connection must outlive its slowest request
graceful_timeout = 30  # seconds that requests under way have to end in after SIGTERM
accesslog = None  # a line for each request would cost more than the request
forwarder_headers = ""  # else SCRIPT_NAME from a balancer on this machine, which passes on what visitors send
control_socket_disable = True  # its path is the same for two instances, and the second one takes it from the first

# What PostgreSQL shows as the name of our connections: so it can be asked how many there are of this site.
os.environ.setdefault("PGAPPNAME", f"pooldemo-{os.getpid()}")

SNAPSHOTS = "POOLDEMO_SNAPSHOTS"  # as in pooldemo/monitor/snapshots.py
FOLDER = "pooldemo-snapshots-"
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOP_DATABASE = [sys.executable, "manage.py", "postgres", "stop", "--unless-asked"]


def on_starting(server: Any) -> None:
    """Refuse what cannot work, start the embedded PostgreSQL where it is the one used, and make the workers' folder."""
    if server.cfg.preload_app:
        sys.exit(
            "preload_app is not accepted: Django, imported in the master before a gevent worker's monkey patch, keeps "
            "one connection for all greenlets of a worker. Leave out --preload (preload_app = False)."
        )
    if server.cfg.workers < 1:  # gunicorn takes it, and answers nobody
        sys.exit(f"{server.cfg.workers} workers are not accepted: give a whole number from 1, as in WEB_CONCURRENCY=2")
    refuse_ports_in_use(server)
    if not os.environ.get("DATABASE_URL"):
        have_database()
    temporary = Path(tempfile.gettempdir())
    for folder in temporary.glob(f"{FOLDER}*"):  # left behind by masters that were killed
        pid = folder.name.removeprefix(FOLDER).split("-")[0]
        with contextlib.suppress(OSError):  # another master cleans up as well
            ours = pid.isdecimal() and folder.lstat().st_uid in (os.getuid(), server.cfg.uid)
            if ours and not psutil.pid_exists(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)
    os.environ[SNAPSHOTS] = tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-", dir=temporary)
    with contextlib.suppress(PermissionError):  # gunicorn says so
        os.chown(os.environ[SNAPSHOTS], server.cfg.uid, server.cfg.gid)  # the workers', with --user
    end_with_terminal(server)


def have_database() -> None:
    """Have the embedded PostgreSQL running; it stops with this master, however that ends."""
    for number in STOPS:  # until gunicorn has its own handlers
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    atexit.register(stop_database, os.getpid())
    start = subprocess.Popen([sys.executable, "-m", "project.start", str(os.getpid())], cwd=Path(__file__).parent)
    try:
        code = start.wait()
    except KeyboardInterrupt:
        deafen()
        start.send_signal(signal.SIGINT)  # SIGTERM came to us alone
        start.wait()
        sys.exit(130)
    if code:  # it has said why
        sys.exit(code)


def stop_database(master: int) -> None:
    """At the end of the process `master`; its workers were forked from it."""
    if os.getpid() == master:
        deafen()  # a terminal sends a second Ctrl-C to all that it started
        subprocess.run(STOP_DATABASE, cwd=Path(__file__).parent, check=False)


def deafen() -> None:
    """From now on no signal to stop is heard, by what is started neither."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)


def end_with_terminal(server: Any) -> None:
    """End as by Ctrl-C where the terminal is closed: at SIGHUP gunicorn loads anew, and would serve on unseen."""
    load_anew, had_terminal = server.handle_hup, os.isatty(0)

    def hang_up() -> None:
        if had_terminal and not os.isatty(0):
            server.handle_int()
        else:
            load_anew()

    server.handle_hup = hang_up


def when_ready(server: Any) -> None:
    """The sockets are there, the workers not yet: tell them where others than this machine reach them."""
    names = [listener.sock.getsockname() for listener in server.LISTENERS]
    if any(isinstance(name, tuple) and not ipaddress.ip_address(name[0]).is_loopback for name in names):
        os.environ["EXPOSED"] = os.environ.get("EXPOSED", "").strip() or "yes"  # compose gives an empty one for none


def refuse_ports_in_use(server: Any) -> None:
    """Say so at once; gunicorn itself would try for five seconds and say no more than the address."""
    if "GUNICORN_FD" in os.environ or "LISTEN_FDS" in os.environ or server.cfg.reuse_port:  # they are ours, or shared
        return
    for host, port in (address for address in server.cfg.address if isinstance(address, tuple)):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OverflowError:
                sys.exit(f"{port} is no port: give one up to 65535, as in -b {host}:8000")
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    other = f"{f'[{host}]' if ':' in host else host}:{port + 1 if port < 65535 else 8000}"
                    sys.exit(
                        f"Port {port} of {host} is in use, perhaps by this site already. End that, or take another: "
                        f"gunicorn -k gevent -b {other} project.wsgi (make run ARGS='-b {other}')"
                    )


def post_fork(_server: Any, worker: Any) -> None:
    """Let a worker end that is told to before it has handlers of its own, half a second or more: its master's, which
    it has until then, note the signal for nobody, and the master waits graceful_timeout for its end. And let it hear
    once that it is to end while it loads: a terminal and the master both say so, and twice is a traceback."""
    for number in (signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, lambda *_: os._exit(0))
    told, end = itertools.count(), worker.handle_quit
    worker.handle_quit = lambda *signalled: next(told) or end(*signalled)


def post_worker_init(worker: Any) -> None:
    """The application is loaded and the process patched: say once whether the sizes fit."""
    # A terminal sends Ctrl-C to the master and to the workers. The master passes it on, and who hears it twice ends
    # with a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if "project.wsgi" not in sys.modules:  # another application, served from this folder
        return
    if worker.age == 1:
        threading.Thread(target=say_budget, args=(worker,), name="budget", daemon=True).start()


def say_budget(worker: Any) -> None:
    """The start-up line. It never fails the start: where it cannot know, it says why."""
    from django.conf import settings

    from pooldemo.postgresql.budget import Unknown, read_budget

    if settings.DEBUG:
        worker.log.warning("DEBUG is on: Django keeps every statement in memory, and what is measured is that")
    try:
        budget = read_budget(worker.cfg.workers)
    except Unknown as error:
        worker.log.warning("workers x MAX_CONNS is not known to fit into max_connections: %s", error)
    else:
        (worker.log.info if budget.fits else worker.log.warning)("%s", budget)


def worker_exit(_server: Any, worker: Any) -> None:
    """This worker ends, or the master finds that one has. Where the master was killed, its worker becomes the command
    that would have been its last; while another worker lives that stops nothing."""
    if worker.ppid not in (os.getppid(), os.getpid()) and not os.environ.get("DATABASE_URL"):
        os.chdir(Path(__file__).parent)
        os.execv(STOP_DATABASE[0], STOP_DATABASE)  # noqa: S606  our own command


def child_exit(_server: Any, worker: Any) -> None:
    """A worker has ended: remove its snapshot."""
    for path in Path(os.environ[SNAPSHOTS]).glob(f"{worker.pid}.*"):
        path.unlink(missing_ok=True)


def on_exit(_server: Any) -> None:
    """The master ends: leave nothing."""
    shutil.rmtree(os.environ.pop(SNAPSHOTS, ""), ignore_errors=True)
