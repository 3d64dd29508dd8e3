"""What a project answers about its pools by one include(): to whom, and what may be changed there."""

import errno
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core import signing
from django.db import connection
from django.test import Client, RequestFactory

from pooldemo import urls
from pooldemo.monitor import meeting, snapshots, views

PASS = views.Pass()


@pytest.fixture
def theirs(settings: Any) -> Client:
    """A project that includes pooldemo.urls, and has no middleware of ours."""
    settings.ROOT_URLCONF = "pooldemo.urls"
    settings.MIDDLEWARE = [each for each in settings.MIDDLEWARE if not each.startswith("pooldemo.")]
    return Client()


def test_it_shows_statements_to_staff_and_to_the_projects_own_commands_alone() -> None:
    request = RequestFactory().get("/pool/")
    assert views.guarded_pool(request).status_code == 403, "a project without users"
    for user, status in ((AnonymousUser(), 403), (User(is_staff=False), 403), (User(is_staff=True), 200)):
        request.user = user
        assert views.guarded_pool(request).status_code == status
    assert views.guarded_pool(RequestFactory().get("/pool/", headers=PASS)).status_code == 200
    forged = {views.HEADER: signing.dumps("pool", key="another secret", salt=views.SALT)}
    assert views.guarded_pool(RequestFactory().get("/pool/", headers=forged)).status_code == 403


def test_it_answers_also_where_a_project_wants_a_login_for_each_page(theirs: Client, db: None, settings: Any) -> None:
    """By Django's middleware: Prometheus and the balancer were sent to the login, and a sweep saw no pool."""
    settings.MIDDLEWARE += ["django.contrib.auth.middleware.LoginRequiredMiddleware"]
    for path, headers in (("/pool/", dict(PASS)), ("/metrics", {}), ("/healthz", {}), ("/readyz", {})):
        assert theirs.get(path, headers=headers).status_code == 200, path
    assert theirs.get("/pool/").status_code == 403


def test_its_commands_sign_each_request_so_that_a_pass_is_soon_worth_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever listens where the site was gets one."""
    now_s, kept = time.time(), dict(PASS)
    monkeypatch.setattr("django.core.signing.time.time", lambda: now_s + views.PASS_S + 2)
    assert not views.has_pass(RequestFactory().get("/pool/", headers=kept))
    assert views.has_pass(RequestFactory().get("/pool/", headers=dict(PASS)))


@pytest.mark.parametrize("view", [views.pool, views.guarded_pool])
def test_it_lets_no_one_else_resize_a_pool(view: Any, db: None) -> None:
    request = RequestFactory().post("/pool/?size=3")
    request.user = User(is_staff=True)
    assert view(request).status_code == 403


def test_it_resizes_the_pools_of_all_workers(theirs: Client, db: None, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv(meeting.FOLDER_VARIABLE, str(tmp_path))
    pool: Any = connection.pool  # type: ignore[attr-defined]
    before = pool.get_stats()["pool_max"]
    refused = theirs.post("/pool/?size=many", headers=PASS)
    assert (refused.status_code, b"MAX_CONNS" in refused.content) == (400, True)
    try:
        assert theirs.post("/pool/?size=7", headers=PASS).status_code == 202
        assert pool.get_stats()["pool_max"] == 7
        assert (tmp_path / snapshots.SIZE).read_text() == "7", "where the others look"
    finally:
        pool.resize(before)


def test_it_resizes_no_pool_where_the_other_workers_cannot_be_told(
    theirs: Client, db: None, tmp_path: Path, monkeypatch: Any
) -> None:
    """With a full disk it answered 500, and this worker had another size than the others."""
    monkeypatch.setenv(meeting.FOLDER_VARIABLE, str(tmp_path / "gone"))
    pool: Any = connection.pool  # type: ignore[attr-defined]
    before = pool.get_stats()["pool_max"]
    try:
        answer = theirs.post(f"/pool/?size={before + 1}", headers=PASS)
        assert (answer.status_code, b"cannot be told" in answer.content) == (503, True)
        assert pool.get_stats()["pool_max"] == before
    finally:
        pool.resize(before)


def test_it_brings_metrics_and_probes(theirs: Client, db: None) -> None:
    assert b"db_client_connection_max" in theirs.get("/metrics").content
    assert [theirs.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]


def test_it_says_what_to_install_for_metrics(theirs: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooldemo.monitor.metrics", None)
    answer = theirs.get("/metrics")
    assert (answer.status_code, b"pip install 'pooldemo[metrics]'" in answer.content) == (501, True)


def test_workers_meet_in_a_folder_of_their_masters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[Path] = []
    monkeypatch.setattr(snapshots, "start_publishing", published.append)
    monkeypatch.setattr(snapshots, "_sharer", 0, raising=False)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv(meeting.FOLDER_VARIABLE, raising=False)
    monkeypatch.delitem(sys.modules, "gunicorn.arbiter", raising=False)
    snapshots.share()
    assert published == [], "a command is no worker"
    monkeypatch.setitem(sys.modules, "gunicorn.arbiter", sys)
    monkeypatch.setattr(meeting, "_preloads", lambda: False)
    (tmp_path / f"{meeting.FOLDER}999999999-0").mkdir()  # a master that is no more
    (tmp_path / f"{meeting.FOLDER}{os.getppid()}-1-{os.getuid()}").mkdir()  # one of the same number, before
    snapshots.share()
    began = Path(f"/proc/{os.getppid()}/stat").read_text().split()[21]
    folder = tmp_path / f"{meeting.FOLDER}{os.getppid()}-{began}-{os.getuid()}"
    assert (published, list(tmp_path.iterdir())) == ([folder], [folder])
    assert folder.stat().st_mode & 0o077 == 0
    assert os.environ[meeting.FOLDER_VARIABLE] == str(folder)
    snapshots.publish(folder)
    assert json.loads((folder / f"{os.getpid()}.json").read_text())["pid"] == os.getpid()
    for suffix in ("json", "past"):
        (folder / f"999999999.{suffix}").touch()  # of a worker that was replaced, and whose number another one may get
    (folder / snapshots.SIZE).touch()
    snapshots.share()
    assert published == [folder], "once"
    monkeypatch.setattr(snapshots, "_sharer", 0)  # a new worker
    snapshots.share()
    assert {path.stem for path in folder.iterdir()} == {str(os.getpid()), snapshots.SIZE}


def test_workers_share_also_where_their_master_loaded_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """preload_app, under threads: the master is no worker, and a thread of its own would not be in its workers."""
    shared: list[str] = []
    monkeypatch.setattr(snapshots, "_share", lambda: shared.append("now"))
    monkeypatch.setattr(os, "register_at_fork", lambda *, after_in_child: shared.append("in each worker"))
    monkeypatch.setitem(sys.modules, "gunicorn.arbiter", sys)
    snapshots.share()
    assert shared == ["in each worker"]
    exec("share()", {"__name__": "gunicorn.workers.base", "share": snapshots.share})
    assert shared == ["in each worker", "now"]
    exec("share()", {"__name__": "gunicorn.workers.gthread", "share": snapshots.share})  # at its first request
    assert shared == ["in each worker", "now", "now"]


def test_workers_share_also_where_the_app_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its addresses are enough for them; each answer told of one worker, another one each time."""
    shared: list[str] = []
    monkeypatch.setattr(snapshots, "share", lambda: shared.append("now"))
    importlib.reload(urls)
    assert shared == ["now"]


def test_it_is_not_ready_while_it_drains_or_while_too_many_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views.readiness, "trouble", lambda patience_s: "gone" if patience_s < 9 else "")
    monkeypatch.setattr(snapshots, "total", lambda _: {"requests_waiting": 7})

    def asked(query: str = "") -> tuple[int, bytes]:
        answer = views.readyz(RequestFactory().get(f"/readyz{query}"))
        return answer.status_code, answer.content

    assert asked()[0] == asked("?patience=8")[0] == 503
    monkeypatch.setattr(views.readiness, "trouble", lambda patience_s: "")
    assert asked() == (200, b"ready\n")  # who does not ask for it is not told
    assert asked("?waiting=7&patience=9")[0] == 200
    assert asked("?patience=long") == (400, b"patience='long' is not accepted: give a whole number\n")
    status, said = asked("?waiting=6")
    assert (status, json.loads(said)["error"]) == (503, "PoolBusy")
    assert asked("?waiting=many") == (400, b"waiting='many' is not accepted: give a whole number\n")
    monkeypatch.setenv("POOLDEMO_DRAINING", str(tmp_path / "draining"))
    assert asked()[0] == 200
    (tmp_path / "draining").touch()
    status, said = asked()
    assert (status, json.loads(said)["error"]) == (503, "Draining")
    with monkeypatch.context() as patched:  # the file is another user's: it was a 500, for ever
        patched.setattr(os, "stat", _forbidden)
        assert asked()[0] == 200


def _forbidden(*_: Any, **__: Any) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize(
    ("exposed", "headers", "is_told"), [(False, {}, True), (True, {}, False), (None, {}, False), (True, PASS, True)]
)
def test_it_tells_a_stranger_no_host_and_no_role(
    exposed: bool | None, headers: dict[str, str], is_told: bool, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any project may answer /readyz to the world; only this one knows who reaches it."""
    monkeypatch.setattr(views.readiness, "trouble", lambda patience_s: 'no password for user "shop" on 10.0.0.3')
    if exposed is None:
        del settings.EXPOSED
    else:
        settings.EXPOSED = exposed
    answer = json.loads(views.readyz(RequestFactory().get("/readyz", headers=headers)).content)
    assert (answer["error"], "10.0.0.3" in answer["message"]) == ("DatabaseDown", is_told)
