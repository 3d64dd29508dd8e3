"""The name of a server is looked up where only the greenlet that asks has to wait for it."""

import contextlib
import socket
import threading
from typing import Any

import gevent
import pytest
from django.db import OperationalError

from pooldemo.postgresql.unpooled import plain_connection

from .elsewhere import patched, threaded
from .servers import own_server
from .site import Site

NAMES = {"one.test": ["127.0.0.1"], "two.test": ["127.0.0.2", "127.0.0.1"]}  # the gate listens on the last one alone


def name_server(patch: pytest.MonkeyPatch, answers: threading.Event) -> None:
    """It knows NAMES, and says nothing until `answers` is set."""
    known = socket.getaddrinfo

    def look_up(host: Any, *more: Any, **options: Any) -> Any:
        if not str(host).endswith(".test"):
            return known(host, *more, **options)
        answers.wait()
        if host not in NAMES:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [found for each in NAMES[host] for found in known(each, *more, **options)]

    patch.setattr(socket, "getaddrinfo", look_up)


@patched
def test_a_slow_name_server_holds_up_who_connects_and_nobody_else(site: Site) -> None:
    """libpq looks the name up by itself, and every greenlet stood still."""
    answers, port = threading.Event(), str(site.gate().port)
    with pytest.MonkeyPatch.context() as patch:
        name_server(patch, answers)
        db = site.database({"HOST": "one.test", "PORT": port})
        connecting = gevent.spawn(db.ask, "SELECT 1")
        probe = gevent.spawn(lambda: plain_connection(db.alias).ensure_connection())
        gevent.sleep(0.1)
        assert not connecting.ready()
        assert not probe.ready()
        answers.set()
        gevent.joinall([connecting, probe], raise_error=True)
        assert connecting.value == 1


@patched
def test_it_tries_every_address_of_every_name_that_is_known(site: Site) -> None:
    answers, port = threading.Event(), str(site.gate().port)
    answers.set()
    with pytest.MonkeyPatch.context() as patch:
        name_server(patch, answers)
        for host, ports in (("two.test", port), ("no.test,two.test", port), ("no.test,one.test", f"1,{port}")):
            assert site.database({"HOST": host, "PORT": ports}).ask("SELECT 1") == 1, host
        with pytest.raises(OperationalError, match="no.test.*: .*Temporary failure in name resolution"):
            site.database({"HOST": "no.test", "PORT": port}).ask()


@patched
def test_it_goes_on_to_the_next_address_where_one_does_not_answer(site: Site) -> None:
    """After `connect_timeout`, as libpq does by itself where nothing else runs meanwhile. One of two is off."""
    answers, port = threading.Event(), site.gate().port
    answers.set()
    for host in ("127.0.0.2", "127.0.0.3"):
        silent_at(site, host, port)
    with pytest.MonkeyPatch.context() as patch:
        name_server(patch, answers)
        for host in ("127.0.0.2,127.0.0.1", "127.0.0.3,two.test"):
            db = site.database({"HOST": host, "PORT": str(port)}, connect_timeout=2, POOL_TIMEOUT=60, MAX_CONNS=1)
            assert gevent.spawn(db.ask, "SELECT 1").get(timeout=30) == 1, host
            with contextlib.closing(plain_connection(db.alias)) as probe:
                gevent.spawn(probe.ensure_connection).get(timeout=30)


def silent_at(site: Site, host: str, port: int) -> None:
    """A server there that takes connections, and never says a word or lets go of one."""
    silent = socket.create_server((host, port))
    site.finally_do(silent.close)


@patched
def test_it_finds_the_primary_where_a_standby_is_preferred_and_does_not_answer(site: Site) -> None:
    """It went on to fewer and fewer addresses, and had left out the only one that served."""
    port = site.gate().port
    silent_at(site, "127.0.0.2", port)
    for host in ("127.0.0.1,127.0.0.2", "127.0.0.2,127.0.0.1"):
        options = {"connect_timeout": 2, "target_session_attrs": "prefer-standby"}
        db = site.database({"HOST": host, "PORT": str(port)}, POOL_TIMEOUT=60, MAX_CONNS=1, **options)
        assert gevent.spawn(db.ask, "SELECT 1").get(timeout=30) == 1, host


@patched
def test_a_host_that_never_lets_go_keeps_no_slot_from_the_next(site: Site) -> None:
    """A primary whose disk hangs, beside a standby that is to be promoted: each try left a slot waiting for the one."""
    gate = site.gate()
    gate.refuse_all = ("57P03", "the database system is starting up")
    silent_at(site, "127.0.0.2", gate.port)
    config = {"HOST": "127.0.0.2,127.0.0.1", "PORT": str(gate.port)}
    options = {"connect_timeout": 2, "POOL_TIMEOUT": 60, "MAX_CONNS": 1}
    db = site.database(config, sslmode="disable", **options)  # the gate refuses in plain words
    asking = gevent.spawn(db.ask, "SELECT 1")
    site.wait_until(lambda: gate.accepted)
    gate.refuse_all = None
    assert asking.get(timeout=30) == 1


def restarts_beside_a_host_that_hangs(site: Site, hosts: str) -> None:
    """The server at 127.0.0.1 goes away, is missed, and comes back; 127.0.0.2 takes connections and says nothing."""
    server = own_server(site)
    silent_at(site, "127.0.0.2", server.port)
    options = {"connect_timeout": 2, "POOL_TIMEOUT": 100, "MAX_CONNS": 1}
    db = site.database(server.config(HOST=hosts, PORT=str(server.port)), **options)
    assert db.ask("SELECT 1") == 1
    pool = db.pool
    server.stop()
    answers: list[Any] = []

    def ask() -> None:
        answers.append(db.ask("SELECT 1"))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    site.wait_until(lambda: pool.get_stats()["connections_errors"])
    server.start()
    asking.join(60)
    assert answers == [1], pool


HOSTS = ("127.0.0.1,127.0.0.2", "127.0.0.2,127.0.0.1")


@patched
def test_a_server_that_restarts_is_found_beside_a_host_that_hangs(site: Site) -> None:
    """Each try left a slot waiting for the host that hangs, where that is the last one."""
    for hosts in HOSTS:
        restarts_beside_a_host_that_hangs(site, hosts)


@threaded
def test_a_server_that_restarts_is_found_beside_a_host_that_hangs_under_threads(site: Site) -> None:
    for hosts in HOSTS:
        restarts_beside_a_host_that_hangs(site, hosts)


@patched
def test_it_draws_each_address_once_where_hosts_are_taken_at_random(site: Site) -> None:
    """libpq draws anew each time, and those that were left out might be the ones that answer."""
    from pooldemo.postgresql.addresses import in_turn

    drawn = set()
    for _ in range(50):
        turns = in_turn({"host": "a,b,c", "port": "1,2,3", "load_balance_hosts": "random"})
        pairs = [list(zip(each["host"].split(","), each["port"].split(","), strict=True)) for each in turns]
        assert pairs == [pairs[0][n:] for n in range(3)]
        assert sorted(pairs[0]) == [("a", "1"), ("b", "2"), ("c", "3")]
        assert {each["load_balance_hosts"] for each in turns} == {"disable"}
        drawn.add(pairs[0][0])
    assert len(drawn) == 3
    for left in ({"host": "a"}, {"host": "a,b", "port": "1,2,3"}):
        assert in_turn(left | {"load_balance_hosts": "random"})[0] == left | {"load_balance_hosts": "random"}


@patched
def test_it_leaves_no_name_to_libpq_that_is_not_known(site: Site) -> None:
    """Not where only addresses stand beside it either: libpq would ask the name server again, and stop everybody."""
    from pooldemo.postgresql.addresses import looked_up

    answers = threading.Event()
    answers.set()
    with pytest.MonkeyPatch.context() as patch:
        name_server(patch, answers)
        for host, left in (("no.test,one.test", "one.test"), ("127.0.0.1,no.test,/run", "127.0.0.1,/run")):
            assert looked_up({"host": host})["host"] == left


@patched
def test_it_takes_an_address_a_socket_and_what_says_more_as_they_are(site: Site) -> None:
    from pooldemo.postgresql.addresses import looked_up

    for params in (
        {},
        {"host": "127.0.0.1", "port": 5432},
        {"host": "::1"},
        {"host": "/run/postgresql"},
        {"host": "localhost"},
        {"host": "one.test", "hostaddr": "127.0.0.1"},
        {"host": "one.test", "service": "shop"},
        {"host": "one.test", "dsn": "host=two.test"},
        {"host": "one.test,two.test", "port": "1,2,3"},
        {"host": "a..b"},
    ):
        assert looked_up(params) == params


@patched
def test_each_address_has_its_turn_with_its_name_and_its_port(site: Site) -> None:
    from pooldemo.postgresql.addresses import in_turn

    for params, turns in (
        ({"host": "a,b", "port": "1,2"}, [{"host": "a,b", "port": "1,2"}, {"host": "b", "port": "2"}]),
        (
            {"host": "a,a", "hostaddr": "::1,::2", "port": 1},
            [{"host": "a,a", "hostaddr": "::1,::2"}, {"host": "a", "hostaddr": "::2"}],
        ),
        ({"host": "a"}, [{"host": "a"}]),
        ({}, [{}]),
        ({"host": "a,b", "service": "shop"}, [{"host": "a,b", "service": "shop"}]),
    ):
        assert in_turn(params) == [params | each for each in turns], params
