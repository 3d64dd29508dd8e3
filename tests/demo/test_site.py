"""A real gunicorn with gevent workers in front of a real PostgreSQL."""

import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psutil
import psycopg2
import pytest
from served import PATIENCE_S, Site, free_port, until

from pooldemo.sweep.workloads import WORKLOADS


def refuses(site: Site) -> bool:
    """Whether it takes no connections any more."""
    try:
        socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE_S).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass  # it closed its socket while this one knocked
    return False


def snapshots_of(site: Site) -> Path:
    """The folder that its workers write to."""
    [folder] = Path(tempfile.gettempdir()).glob(f"pooldemo-snapshots-{site.process.pid}-*")
    return folder


@pytest.mark.parametrize("name", WORKLOADS)
def test_it_answers_each_workload(site: Site, name: str) -> None:
    answer = site.get(f"/{name}/")
    assert answer.status == 200, answer.text
    assert answer.json["workload"] == name
    assert answer.headers["Content-Length"] == str(len(answer.text))


@pytest.mark.parametrize("path", ["/", "/pool/", "/metrics", "/healthz", "/readyz", "/admin/login/", "/robots.txt"])
def test_it_answers_the_addresses_of_the_contract(site: Site, path: str) -> None:
    assert site.get(path).status == 200


def test_it_logs_no_line_for_each_probe_by_head(site: Site) -> None:
    said = len(site.log)
    assert [site.get(path, "HEAD").status for path in ("/", "/healthz", "/readyz", "/fast/")] == [200] * 4
    assert "HEAD" not in site.log[said:]


def test_it_refuses_a_bad_parameter(site: Site) -> None:
    answer = site.get("/slow/?ms=nan")
    assert answer.status == 400
    assert "ms=nan" in answer.json["message"]


def test_it_answers_503_with_the_numbers_when_no_slot_came_in_time(tiny_site: Site) -> None:
    with tiny_site.holding():
        refused = tiny_site.get("/fast/")
        page = tiny_site.get("/admin/", Cookie="sessionid=" + "a" * 32)  # its session is in the database
        pool, health, ready, metrics = map(tiny_site.get, ("/pool/", "/healthz", "/readyz", "/metrics"))
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    assert refused.json["error"] == "PoolTimeout"
    assert "1/1 in use" in refused.json["message"]
    assert refused.json["pool"]["pool_max"] == 1
    assert page.status == 503
    assert (pool.status, health.status, ready.status, metrics.status) == (200, 200, 200, 200)
    [holder] = pool.json["sum"]["holders"]
    assert holder["statement"].startswith("UPDATE pooldemo_row")
    assert 'db_client_connection_count{db_client_connection_pool_name="default",db_client_connection_state="used"' in (
        metrics.text
    )
    until(lambda: tiny_site.get("/fast/").status == 200)


def test_it_shows_the_pool_of_each_worker_and_their_sum(site: Site) -> None:
    def both() -> dict | None:
        site.get("/fast/")  # whichever worker takes it then has a pool
        answer = site.get("/pool/").json
        return answer if sum("default" in each["pools"] for each in answer["workers"]) == 2 else None

    answer = until(both)
    stats = [worker["pools"]["default"]["stats"] for worker in answer["workers"]]
    assert answer["sum"]["pool_max"] == 8
    assert answer["sum"]["requests_num"] == sum(each["requests_num"] for each in stats)
    children = {child.pid for child in psutil.Process(site.process.pid).children()}
    assert {worker["pid"] for worker in answer["workers"]} == children
    assert {worker["age_s"] for worker in answer["workers"]} & {0.0}, "whoever answers knows itself as it is now"


@pytest.fixture(scope="module")
def greedy_site(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two workers that want more connections than PostgreSQL has."""
    log = tmp_path_factory.mktemp("greedy_site") / "log"
    with Site(database_url, log, WEB_CONCURRENCY="2", MAX_CONNS="99999") as site:
        # Its first worker says whether they fit, a moment after it answers; a test that kills it must not come before.
        until(lambda: "workers x MAX_CONNS" in site.log)
        yield site


def test_it_warns_at_the_start_when_the_sizes_do_not_fit(greedy_site: Site) -> None:
    assert "too many. Under load PostgreSQL will refuse connections; set MAX_CONNS to" in greedy_site.log
    assert "[WARNING]" in greedy_site.log


def test_it_forgets_a_worker_that_was_killed(greedy_site: Site) -> None:
    def pids() -> set[int]:
        return {worker["pid"] for worker in greedy_site.get("/pool/").json["workers"]}

    def files() -> list[Path]:
        return list(snapshots_of(greedy_site).glob(f"{victim.pid}.*"))

    until(lambda: len(pids()) == 2)
    victim = psutil.Process(greedy_site.process.pid).children()[0]
    until(files)
    victim.kill()
    until(lambda: victim.pid not in pids())
    until(lambda: len(pids()) == 2)
    assert not files()


def test_it_answers_while_postgresql_is_down(log: Path) -> None:
    nobody = "postgres://nobody@127.0.0.1:1/nothing"
    with Site(nobody, log, WEB_CONCURRENCY="1", MAX_CONNS="2", POOL_TIMEOUT="0.3") as site:
        down, ready = site.get("/fast/"), site.get("/readyz")
        assert (site.get("/healthz").status, site.get("/nodb/").status, site.get("/pool/").status) == (200, 200, 200)
        assert (down.status, ready.status) == (503, 503)
        assert down.json["error"] in ("DatabaseDown", "PoolTimeout")
        assert "refused" in down.json["message"]
        assert ready.json["error"] == "DatabaseDown"
        until(lambda: "not known to fit into max_connections" in site.log)


def test_it_starts_beside_a_postgresql_that_never_answers(log: Path) -> None:
    """One that stands still, or a firewall: no worker came up while it lasted, and a pod was killed for it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_url = f"postgres://nobody@127.0.0.1:{silent.getsockname()[1]}/nothing"
        with Site(silent_url, log, WEB_CONCURRENCY="1", MAX_CONNS="2", POOL_TIMEOUT="1") as site:
            assert site.get("/nodb/").status == 200
            assert site.get("/readyz").json["error"] == "DatabaseDown"
            assert "/readyz says when it" in site.log


def test_it_says_in_a_sentence_that_its_role_may_not_look_at_the_migrations(database_url: str, log: Path) -> None:
    """What is wrong with the database is said in a thread of its own, whose traceback nobody would have caught."""
    other_role = f"{database_url}{'&' if '?' in database_url else '?'}options=-c%20role%3Dpg_monitor"
    with Site(other_role, log, WEB_CONCURRENCY="1", MAX_CONNS="2", POOL_TIMEOUT="1") as site:
        assert site.get("/nodb/").status == 200
        until(lambda: "permission denied for table django_migrations" in site.log)
        assert "Traceback" not in site.log


def test_its_admin_says_at_once_that_postgresql_is_down(log: Path) -> None:
    nobody = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    with Site(nobody, log, WEB_CONCURRENCY="1", MAX_CONNS="2", POOL_TIMEOUT="600") as site:
        for path in ("/admin/", "/admin/login/", "/admin/pooldemo/sweep/", "/admin/pooldemo/sweep/live/"):
            answer = site.get(path)
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "5"
            assert "PostgreSQL does not answer" in answer.text
            assert "Connection refused" in answer.text


def test_it_tells_a_stranger_no_host_and_no_statement_where_others_reach_it(database_url: str, log: Path) -> None:
    where = {"WEB_CONCURRENCY": "1", "MAX_CONNS": "1", "POOL_TIMEOUT": "0.3", "EXPOSED": "yes", "WORKLOADS": "on"}
    session = f"sessionid={'a' * 32}"  # of nobody: it is looked for
    with closing(psycopg2.connect(database_url)) as other, Site(database_url, log, **where) as site:
        cursor = other.cursor()
        cursor.execute("LOCK TABLE pooldemo_row IN EXCLUSIVE MODE")
        held = threading.Thread(target=site.get, args=("/lock/?ms=0",))
        held.start()

        def holds() -> bool:
            cursor.execute("SELECT FROM pg_locks WHERE relation = 'pooldemo_row'::regclass AND NOT granted")
            return cursor.fetchone() is not None

        until(holds)
        answers = [site.get(path, Cookie=session) for path in ("/admin/", "/lock/?ms=0")]
        other.rollback()
        held.join()
        assert [answer.status for answer in answers] == [503, 503]
        assert not [answer.text for answer in answers if "UPDATE" in answer.text]
        assert "UPDATE pooldemo_row" in site.log
    nobody = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    with Site(nobody, log, **where) as site:
        for path in ("/admin/", "/", "/fast/"):
            assert "Connection refused" not in site.get(path).text


def test_it_refuses_a_port_in_use_and_names_another(database_url: str, log: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        site = Site(database_url, log)
        port = other.getsockname()[1]
        site.command[-1] = f"127.0.0.1:{port}"
        assert site.run() != 0
        assert f"Port {port} of 127.0.0.1 is in use" in site.log
        assert f"gunicorn -k gevent -b 127.0.0.1:{port + 1} project.wsgi" in site.log


def test_it_says_at_the_start_whether_the_sizes_fit(site: Site) -> None:
    line = "workers x MAX_CONNS = 2 x 4 = 8 of max_connections - reserved = "
    until(lambda: line in site.log and len(site.get("/pool/").json["workers"]) == 2)
    assert site.log.count("workers x MAX_CONNS") == 1


def test_it_sends_the_security_policy_with_pages_and_no_cookie_with_workloads(site: Site) -> None:
    page, workload = site.get("/admin/login/"), site.get("/nodb/")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert page.headers["Set-Cookie"].startswith("csrftoken=")
    assert workload.headers["Set-Cookie"] is None


def test_it_does_not_show_its_statements_under_another_sites_name(site: Site) -> None:
    assert site.get("/pool/", Host="evil.example").status == 400


def test_it_takes_no_visitors_word_for_where_it_is(site: Site) -> None:
    """By SCRIPT_NAME /x/metrics was /metrics to the site, and another page to the balancer, which hides that one."""
    assert site.get("/x/metrics", SCRIPT_NAME="/x").status == 404
    assert site.get("/admin/", SCRIPT_NAME="//other.example").headers["Location"].startswith("/admin/login/")


def test_it_finishes_what_is_under_way_and_leaves_nothing_after_sigterm(database_url: str, log: Path) -> None:
    with Site(database_url, log, WEB_CONCURRENCY="1", MAX_CONNS="2") as site, ThreadPoolExecutor(1) as others:
        with site.holding() as [request]:
            folder = snapshots_of(site)
            stopped = others.submit(site.stop)
            until(lambda: refuses(site))
            assert not request.done()
        assert request.result().status == 200
        assert stopped.result() == 0  # fails when a process is left behind
        assert not folder.exists()


def test_its_workers_leave_ctrl_c_to_the_master(database_url: str, log: Path) -> None:
    """A terminal sends it to all of them; a worker that heard it twice ended with a traceback."""
    with Site(database_url, log, WEB_CONCURRENCY="1", MAX_CONNS="2") as site:
        master = psutil.Process(site.process.pid)
        [worker] = master.children()
        worker.send_signal(signal.SIGINT)
        assert [site.get("/fast/").json["workload"] for _ in range(3)] == ["fast"] * 3
        assert worker.is_running()
        master.send_signal(signal.SIGINT)
        until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    assert "Traceback" not in log.read_text()


def sleeping(site: Site) -> int:
    """How many queries of the workload `slow` PostgreSQL works on."""
    with closing(psycopg2.connect(site.database_url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND datname = current_database() "
            "AND query LIKE 'SELECT pg_sleep%' AND pid <> pg_backend_pid()"
        )
        return len(cursor.fetchall())


def test_it_ends_a_request_with_the_deadline_that_its_client_asks_for(site: Site) -> None:
    said = ""
    for seconds in (0.2, 1, 5, 25):  # a busy machine may need longer to come as far as the query
        answer = site.get("/slow/?ms=60000", **{"X-Request-Timeout": str(seconds)})
        assert (answer.status, answer.json["error"]) == (503, "DeadlineExceeded")
        said = answer.json["message"]
        if "while executing" in said:
            break
    assert "while executing SELECT pg_sleep(%s)" in said
    until(lambda: sleeping(site) == 0)
    late = site.get("/think/?query_ms=0&think_ms=300", **{"X-Request-Timeout": "0.2"})
    assert (late.status, late.json["error"]) == (503, "DeadlineExceeded")
    assert site.get("/fast/", **{"X-Request-Timeout": "soon"}).status == 400


def test_it_ends_the_query_of_a_client_that_has_hung_up(site: Site) -> None:
    """Also behind keep-alive, and with bytes of a next request already there."""
    with closing(socket.create_connection(("127.0.0.1", site.port))) as client:
        client.sendall(b"GET /fast/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        client.sendall(b"GET /slow/?ms=60000 HTTP/1.1\r\nHost: localhost\r\n\r\nGET /fast/ HTTP/1.1\r\n")
        until(lambda: sleeping(site) == 1)
    until(lambda: sleeping(site) == 0)
