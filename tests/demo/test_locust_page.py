"""The tab "Pool" of Locust's own page."""

import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from served import ROOT, Site, free_port, until


@contextmanager
def page_of_locust(host: str, *arguments: str) -> Iterator[str]:
    """The address of a Locust with its page, under load until the end."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        "locustfile.py",
        "--host",
        host,
        "--autostart",
        "-u",
        "4",
        "-r",
        "4",
    ]
    command += ["--web-host", "127.0.0.1", "--web-port", str(port), "--run-time", "60s", "--ms", "5", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield url
    finally:
        process.terminate()
        process.wait(20)


def stats(url: str) -> dict[str, Any]:
    """What its page asks for every two seconds; empty when nobody answers yet."""
    try:
        with urllib.request.urlopen(f"{url}/stats/requests", timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except OSError:
        return {}


def rows(url: str) -> list[dict[str, Any]]:
    return [row for table in stats(url).get("extended_stats", ()) if table["key"] == "pool" for row in table["data"]]


def with_size(url: str) -> list[dict[str, Any]]:
    return [row for row in rows(url) if row["size"] and "Active" in row]


def test_it_shows_wait_query_and_the_rest_of_each_workload_and_the_pools_now(site: Site) -> None:
    with page_of_locust(site.url) as url:
        [row] = until(lambda: with_size(url), 40)
        with urllib.request.urlopen(url, timeout=5) as answer:
            html = answer.read().decode()
    assert row["workload"] == "slow"
    assert row["query_ms"] >= 5
    assert row["wait_ms"] >= 0
    assert row["rest_ms"] > 0
    assert row["requests"] > 0
    assert row["since"].count(":") == 2
    assert row["Max"] == int(row["size"])
    assert row["Active"] + row["Idle"] <= row["Max"]
    assert row["Pending"] >= 0
    assert '"extended_tabs": [{"key": "pool", "title": "Pool"}]' in html


def test_it_hears_of_it_from_its_workers(site: Site) -> None:
    ports = ("--master-bind-port", str(port := free_port()), "--master-port", str(port))
    with page_of_locust(site.url, "--processes", "2", *ports) as url:
        [row] = until(lambda: with_size(url), 60)
    assert row["query_ms"] >= 5


@pytest.fixture
def stranger() -> Iterator[tuple[str, list[str]]]:
    """A site that knows nothing of us: its address, and what it was asked for."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_it_does_not_disturb_a_site_that_sends_no_server_timing(stranger: tuple[str, list[str]]) -> None:
    host, asked = stranger
    with page_of_locust(host, "--pause-ms", "50") as url:
        until(lambda: any(row["num_requests"] > 200 for row in stats(url).get("stats", ())), 40)  # for two seconds
        assert rows(url) == []
        assert stats(url)["errors"] == []
    assert set(asked) == {"/slow/?ms=5"}
