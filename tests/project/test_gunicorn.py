"""gunicorn.conf.py, read as gunicorn reads it: what it refuses before it starts, and what it leaves behind."""

import os
import runpy
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

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
    conf: dict[str, Any], addresses: list[Any], exposed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sends a Host of ALLOWED_HOSTS, loopback's, could have loaded the database, or read statements."""
    monkeypatch.setenv("EXPOSED", "")
    monkeypatch.delenv("EXPOSED")
    sockets = [SimpleNamespace(sock=SimpleNamespace(getsockname=lambda name=name: name)) for name in addresses]
    conf["when_ready"](SimpleNamespace(LISTENERS=sockets))
    assert os.environ.get("EXPOSED", "") == exposed


@pytest.mark.parametrize("url", ["", "postgres://me@db.example/shop"])
def test_it_stops_the_embedded_postgresql_with_what_used_it(
    conf: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: ran.append(command[1:]))
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("POOLDEMO_SNAPSHOTS", str(tmp_path))
    conf["on_exit"](None)
    assert ran == ([] if url else [["manage.py", "postgres", "stop", "--unless-asked"]])
    assert (tmp_path.exists(), "POOLDEMO_SNAPSHOTS" in os.environ) == (False, False)


def test_it_ends_without_a_traceback_when_its_start_is_interrupted(
    conf: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setitem(conf["on_starting"].__globals__, "refuse_ports_in_use", lambda _: None)
    monkeypatch.setattr(subprocess, "run", interrupted)
    with pytest.raises(SystemExit) as end:
        conf["on_starting"](SimpleNamespace(cfg=SimpleNamespace(preload_app=False, workers=1)))
    assert end.value.code == 130
