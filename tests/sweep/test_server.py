"""The server under test and the load, with executables that stand in for gunicorn and PgBouncer and write a log."""

import itertools
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from psycopg2.extensions import parse_dsn
from served import site_on, until

from pooldemo.sweep import stacks
from pooldemo.sweep.facts import Plan
from pooldemo.sweep.measure import load, observe
from pooldemo.sweep.measure.database import libpq_url, server_url
from pooldemo.sweep.measure.process import Ledger
from pooldemo.sweep.measure.server import Server, no_application
from pooldemo.sweep.measure.target import Page, TrialError
from pooldemo.sweep.stacks.stack import GUNICORN, Helper, Stack

URL = "postgres://me:secret@127.0.0.1:5432/site?MAX_CONNS=20&REUSE_CONNS=20&POOL_TIMEOUT=2&sslmode=disable"

# Answers every request, and logs how it was started and when it was told to end.
FAKE = """
import http.server, json, os, signal, sys
log = open(os.environ["FAKE_LOG"], "a", buffering=1)
names = ("MAX_CONNS", "WEB_CONCURRENCY", "POOL_STACK", "DATABASE_URL", "DEBUG", "POOL_MODE")
log.write(" ".join(f"{name}={os.environ.get(name)}" for name in names) + "\\n")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        pool = {"histograms": {"hold": {"counts": [1, 2], "total_s": 0.3}}}
        worker = {"pid": 1, "at_s": 1, "pools": {"default": pool, "archive": pool}}
        self.wfile.write(json.dumps({"workers": [worker]}).encode())
    def log_message(self, *_):
        pass
def end(*_):
    log.write("told to end\\n")
    sys.exit()
signal.signal(signal.SIGINT, end)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
HELPER = """
import os, socket, sys
with open(os.environ["FAKE_LOG"], "a") as log:
    log.write("helper " + open(sys.argv[2]).read() + "\\n")
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    while True:
        listener.accept()
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "run")
    yield ledger
    ledger.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "fake.log"


@pytest.fixture
def stack(log: Path, tmp_path: Path) -> Stack:
    script = tmp_path / "server.py"
    script.write_text(FAKE)
    return Stack("fake", "", ("{python}", str(script), "{port}"), {"FAKE_LOG": str(log)}, pool_path="/pool/")


def start(stack: Stack, ledger: Ledger) -> Server:
    return Server(stack, 8, 2, 64, site_on(URL), ledger)


def test_it_starts_the_server_with_its_size_and_without_what_belongs_to_another(
    stack: Stack, ledger: Ledger, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEBUG", "1")
    monkeypatch.setenv("POOL_MODE", "transaction")
    with start(stack, ledger) as server:
        server.wait_ready()
    url = "postgresql://me:secret@127.0.0.1:5432/site?POOL_TIMEOUT=2&sslmode=disable"
    assert log.read_text().splitlines() == [
        f"MAX_CONNS=8 WEB_CONCURRENCY=2 POOL_STACK=pooldemo DATABASE_URL={url} DEBUG=None POOL_MODE=None",
        "told to end",
    ]


def test_it_starts_a_variant_in_its_own_folder_with_its_settings(
    stack: Stack, ledger: Ledger, log: Path, tmp_path: Path
) -> None:
    names = '"$PWD" "$FEATURE" "$POOL_STACK" "$GUNICORN_CMD_ARGS" "$DATABASE_URL"'
    say = f"printf '%s\\n' {names} > \"$FAKE_LOG\"; exec sleep 60"
    (tmp_path / "commit").mkdir()
    other = replace(
        stack, name="fake@RESET=always", command=("sh", "-c", say), env={**stack.env, "FEATURE": "on"},
        root=tmp_path / "commit", options={"RESET": "always"}, database=lambda config: config,
    )  # fmt: skip
    with start(other, ledger) as server:
        folder, feature, name, spread, url = until(lambda: log.exists() and log.read_text()).splitlines()
        assert server.application_name.startswith("sweep-fake-8-")
    assert (folder, feature, name) == (str(tmp_path / "commit"), "on", "fake")
    assert spread == "--reuse-port", "of two workers the first to be awake would take every connection"
    assert url.endswith("&RESET=always")


def test_it_reads_how_long_slots_were_held(stack: Stack, ledger: Ledger) -> None:
    with start(stack, ledger) as server:
        server.wait_ready()
        assert observe.pool_holds(server.url, Page("/pool/")) == observe.Holds(3, 0.3)
        assert observe.pool_holds(server.url, None) is None


def test_it_knows_of_no_holds_where_another_pool_has_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """They were 0 s in all, and its efficiency 0: as if each of its slots had idled."""
    told: dict[str, Any] = {"pid": 1, "at_s": 1.0, "size": 4, "pools": {}}
    monkeypatch.setattr(observe, "workers", lambda host, page: [told])
    assert observe.pool_holds("http://127.0.0.1:1", Page("/pool/")) == observe.Holds(0, 0.0, {(0, 1): (1.0, 0.0)})
    told["size"] = None
    assert observe.pool_holds("http://127.0.0.1:1", Page("/pool/")) is None


def test_it_says_what_a_server_that_does_not_start_said_last(stack: Stack, ledger: Ledger) -> None:
    broken = replace(stack, command=("sh", "-c", "echo Address already in use >&2; exit 98"))
    with start(broken, ledger) as server, pytest.raises(TrialError, match="ended with 98: Address already in use"):
        server.wait_ready()


def test_it_says_what_a_copy_of_a_commit_lacks(stack: Stack, ledger: Ledger, tmp_path: Path) -> None:
    broken = replace(stack, command=("sh", "-c", "echo no .env >&2; exit 3"), root=tmp_path)
    said = "ended with 3: no .env\nIt ran in a copy of that commit, which has no file that git ignores"
    with start(broken, ledger) as server, pytest.raises(TrialError, match=said):
        server.wait_ready()


@pytest.mark.parametrize(
    ("application", "reason"),
    [
        ("nowhere.wsgi", "No module named 'nowhere'"),
        ("json.application", "No module named 'json.application'"),  # as Django writes it
        ("json:nothing", "Failed to find attribute 'nothing' in 'json'"),
    ],
)
def test_it_says_in_a_sentence_that_gunicorn_finds_no_such_application(
    stack: Stack, ledger: Ledger, application: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "default")  # what it says stands between warnings then
    site = replace(site_on(URL), application=application)
    said = rf"^gunicorn finds no application {application} \({reason}\): give --wsgi .* MODULE:NAME where[^\n]*$"
    with (
        Server(replace(stack, command=GUNICORN), 8, 1, 64, site, ledger) as server,
        pytest.raises(TrialError, match=said),
    ):
        server.wait_ready()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def application(): ...", r"application\(\) takes 0 positional arguments but 2 were given"),  # a factory
        ("def application(settings, debug): return print", "'builtin_function_or_method' object is not iterable"),
        (
            "async def application(scope, receive, send): ...",
            r"application\(\) missing 1 required positional argument: 'send'",
        ),
    ],
)
def test_it_says_in_a_sentence_that_what_gunicorn_found_is_no_wsgi_application(
    stack: Stack, ledger: Ledger, text: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    site = replace(site_on(URL), application="shop:application")
    said = rf"^shop:application is no WSGI application \({reason}\): name one with --wsgi, [^\n]*\(\)'$"
    with (
        Server(replace(stack, command=GUNICORN), 8, 1, 64, site, ledger) as server,
        pytest.raises(TrialError, match=said),
    ):
        server.wait_ready()


def test_it_blames_no_application_for_a_module_that_it_misses_itself() -> None:
    said = "  File wsgi.py\nModuleNotFoundError: No module named 'celery'\nNo module named 'celery'\n[1] [ERROR] Worker"
    assert no_application("shop.wsgi:application", 3, said) == ""
    assert no_application("celery.wsgi:application", 3, said) == "No module named 'celery'"


def test_it_does_not_wait_for_ever_for_a_server(stack: Stack, ledger: Ledger) -> None:
    mute = replace(stack, command=("sleep", "60"))
    with start(mute, ledger) as server, pytest.raises(TrialError, match=r"not ready in 0.2 s.*refused"):
        server.wait_ready(0.2)


def test_it_starts_the_helpers_first_and_leads_the_server_to_them(
    stack: Stack, ledger: Ledger, log: Path, tmp_path: Path
) -> None:
    script = tmp_path / "helper.py"
    script.write_text(HELPER)
    helper = Helper(
        (sys.executable, str(script), "{helper_port}", "{folder}/conf"),
        {"FAKE_LOG": str(log)},
        {"conf": "{user} {password} {host} {dbport} {dbname} {size}"},
        "postgres://{user}@127.0.0.1:{helper_port}/{dbname}",
    )
    with start(replace(stack, helpers=(helper,)), ledger) as server:
        server.wait_ready()
    first, second, _ = log.read_text().splitlines()
    assert first == "helper me secret 127.0.0.1 5432 site 8"
    assert "DATABASE_URL=postgresql://me@127.0.0.1:" in second


def test_it_stops_the_helpers_when_one_of_them_does_not_start(stack: Stack, ledger: Ledger) -> None:
    broken = Helper(("sh", "-c", "echo no such user >&2; exit 1"))
    with pytest.raises(TrialError, match="sh did not start: no such user"):
        start(replace(stack, helpers=(broken,)), ledger)
    assert '"children": []' in ledger.path.read_text()


@pytest.mark.parametrize("processes", [1, 2])
def test_it_holds_locust_at_the_gate_until_it_may_go(ledger: Ledger, tmp_path: Path, processes: int) -> None:
    """The gate is real, Locust is not: a package of that name that imports its locustfiles as Locust does.

    Several processes are waited for: a busy machine takes its time to bring them to their master.
    """
    fake = tmp_path / "locust"
    fake.mkdir()
    (fake / "__init__.py").write_text(
        "class events:\n"
        "    class init_command_line_parser:\n"
        "        add_listener = staticmethod(lambda listener: None)\n"
    )
    (fake / "__main__.py").write_text(
        "import importlib.machinery, pathlib, sys\n"
        "for path in sys.argv[sys.argv.index('-f') + 1].split(','):\n"
        "    name = pathlib.Path(path).stem\n"
        "    importlib.machinery.SourceFileLoader(name, path).load_module()\n"
    )
    locustfile = tmp_path / "locustfile.py"
    locustfile.write_text(
        "import pathlib, signal, time; pathlib.Path('went').touch()\n"
        "while not pathlib.Path('came').exists(): time.sleep(0.01)\n"
        "print('the load begins', flush=True); signal.pause()\n"
    )
    plan = Plan(processes=processes)
    with (
        ThreadPoolExecutor() as aside,
        load.Load(plan, "http://127.0.0.1:1", tmp_path, ledger, locustfile=locustfile) as held,
    ):
        until(lambda: "gate" in held.said)
        assert not (tmp_path / "went").exists()
        going = aside.submit(held.go)
        until((tmp_path / "went").exists)
        if processes > 1:
            assert not going.done()
            (tmp_path / "came").touch()
        going.result(60)


def test_it_tells_locust_the_whole_load() -> None:
    plan = Plan(workload="hold", ms=20, think_ms=30, users=40, rate=100, processes=2)
    line = load.command(plan, "http://127.0.0.1:8001", Path("t.json"), Path("locustfile.py"))
    options = dict(itertools.pairwise(line))
    assert options["--host"] == "http://127.0.0.1:8001"
    assert (options["--users"], options["--spawn-rate"], options["--processes"]) == ("40", "40", "2")
    assert (options["--workload"], options["--ms"], options["--think-ms"]) == ("hold", "20", "30")
    assert (options["--arrivals"], options["--spacing"]) == ("100", "even")
    line = load.command(replace(plan, poisson=True), "http://127.0.0.1:8001", Path("t.json"))
    assert dict(itertools.pairwise(line))["--spacing"] == "random"


@pytest.mark.parametrize("theirs", ["", "theirs.py"])
def test_it_lists_files_for_locust_whatever_their_folders_are_called(tmp_path: Path, theirs: str) -> None:
    """Locust takes the list apart at each comma."""
    folder, ours = tmp_path / "a, b" / "shop", tmp_path / "a, b" / "env" / "locustfile.py"
    for file in (folder / "theirs.py", ours):
        file.parent.mkdir(parents=True)
        file.touch()
    plan = Plan(locustfile=str(folder / theirs) if theirs else "")
    typed = load.command(plan, "http://127.0.0.1:1", tmp_path / "timeline.json", ours)
    files = typed[typed.index("-f") + 1].split(",")
    assert [(load.home_of(plan, ours) / each).resolve() for each in files[1:]] == [
        ours,
        *[folder / "theirs.py"] * bool(theirs),
    ]


def test_it_says_what_to_type_on_hosts_that_make_the_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In somebody's project the locustfile stands in site-packages, and a file of theirs is only watched by it."""
    meeting = load.Meeting("10.0.0.5", 5557)
    said = meeting.invitation(Plan(processes=2))
    assert "for 2 load generators" in said
    assert "do locust -f locustfile.py --worker --master-host 10.0.0.5 --master-port 5557; done" in said
    monkeypatch.setattr(load, "ROOT", tmp_path)
    monkeypatch.setattr(load, "LOCUSTFILE", Path("/a b/site-packages/pooldemo/sweep/measure/locustfile.py"))
    assert "do locust -f '/a b/site-packages/pooldemo/sweep/measure/locustfile.py' --worker" in meeting.invitation(
        Plan()
    )
    said = meeting.invitation(Plan(locustfile=str(tmp_path / "theirs.py")))
    assert (
        "do POOLDEMO_THEIR_LOAD=1 locust -f '/a b/site-packages/pooldemo/sweep/measure/locustfile.py,theirs.py'" in said
    )


def test_it_gives_libpq_no_option_of_ours() -> None:
    assert libpq_url(URL) == "postgresql://me:secret@127.0.0.1:5432/site?sslmode=disable"
    assert "MAX_CONNS" not in server_url(URL)
    assert "POOL_MODE" not in server_url(f"{URL}&POOL_MODE=transaction"), "the stack is named for its mode"


def test_it_names_a_socket_in_a_folder_with_a_space_as_libpq_reads_it() -> None:
    url = "postgresql://me@/site?host=/home/me/%C3%BCbers%20Jahr&port=5432"
    for passed_on in (libpq_url(url), server_url(url)):
        assert parse_dsn(passed_on)["host"] == "/home/me/übers Jahr"


@pytest.mark.parametrize("name", ["nope", "pooldemo@", "@main"])
def test_it_lists_the_known_stacks_when_one_is_unknown(name: str) -> None:
    with pytest.raises(ValueError, match=rf"unknown stack '{name}': known are pooldemo, .*per-request"):
        stacks.get(name)


def test_it_says_what_a_stack_lacks_and_how_to_have_it(stack: Stack) -> None:
    assert stack.missing() == ""
    lacking = replace(stack, modules=("os", "no_such_module"), programs=("no-such-program",), remedy="make it")
    assert lacking.missing() == "fake needs the program no-such-program, the Python package no_such_module: make it"
    assert replace(stack, venv=".venv-nope").missing() == "fake needs the environment .venv-nope: make environment"


@pytest.mark.parametrize("name", ["geventpool", "per-request", "persistent"])
def test_it_configures_another_pool_without_the_options_of_ours(name: str) -> None:
    config: dict[str, Any] = {"NAME": "site", "OPTIONS": {"MAX_CONNS": 5, "POOL_TIMEOUT": 3, "sslmode": "disable"}}
    made = stacks.database(name, config)
    allowed = {"MAX_CONNS": 5} if name == "geventpool" else {}
    assert made["OPTIONS"] == {"sslmode": "disable"} | allowed
    assert made["CONN_MAX_AGE"] == (None if name == "persistent" else 0)
    assert config["OPTIONS"]["POOL_TIMEOUT"] == 3
