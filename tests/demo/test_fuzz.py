"""Every address of a served site, asked in ways that nobody thought of: an answer each time, and no slot lost."""

import http.client
from contextlib import closing
from urllib.parse import quote_from_bytes

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from hypothesis import example, given, settings
from hypothesis import strategies as st
from served import Site, until

from pooldemo.demo.views import DIRECT
from pooldemo.sweep.workloads import WORKLOADS

EXPECTED = {200, 202, 301, 302, 400, 403, 404, 405, 411, 413, 414, 415, 429, 431, 501, 503, 505}
NAMES = sorted(
    {name for each in WORKLOADS.values() for name in each.parameters} | {"size", "waiting", "next", "q", "p"}
)
NASTY = ["0", "-1", "1e3", "1e309", "nan", "inf", "0x10", "\u0661", "9" * 400, "1;2", "", " 5", "true", "5.5.5"]
VALUES = st.sampled_from(NASTY) | st.integers(-5, 50).map(str) | st.text(max_size=30) | st.binary(max_size=20)


def addresses() -> list[str]:
    """All that the site has, placeholders filled with 1."""
    found = set(DIRECT)

    def walk(patterns: list[URLPattern | URLResolver], before: str) -> None:
        for each in patterns:
            path = before + str(each.pattern).replace("^", "").replace("$", "").replace("\\Z", "")
            if isinstance(each, URLResolver):
                walk(each.url_patterns, path)
            else:
                parts = ("1" if part.startswith("<") else part for part in path.split("/"))
                found.add("/" + "/".join(parts))

    walk(get_resolver().url_patterns, "")
    return sorted(path for path in found if path.isascii() and not set(path) & set("(?[ "))


def quoted(value: str | bytes) -> str:
    return quote_from_bytes(value if isinstance(value, bytes) else value.encode(errors="surrogatepass"))


QUERIES = st.lists(st.tuples(st.sampled_from(NAMES) | st.text(max_size=5), VALUES), max_size=4)
HEADERS = st.dictionaries(
    st.sampled_from(["X-Request-Timeout", "X-Pooldemo-Pass", "Host", "Cookie", "Content-Length", "X-Forwarded-For"]),
    st.sampled_from(["", "-1", "nan", "1e400", "0.0001", "a" * 3000, "sessionid=x", "localhost:99999", "\xff"]),
    max_size=2,
)  # fmt: skip


def test_it_answers_every_address_whatever_it_is_asked_and_loses_no_slot(site: Site) -> None:
    seen: set[int] = set()

    @settings(max_examples=120, derandomize=True)
    @given(
        st.sampled_from(addresses()),
        QUERIES,
        st.sampled_from(["GET", "HEAD", "POST", "PUT", "OPTIONS", "FOO"]),
        HEADERS,
    )
    @example("/slow/", [("ms", "1e309")], "GET", {"X-Request-Timeout": "nan"})
    @example("/admin/login/", [("next", "//evil")], "POST", {"Cookie": "csrftoken=\xff"})
    def ask(path: str, query: list[tuple[str, str | bytes]], method: str, headers: dict[str, str]) -> None:
        text = "&".join(f"{quoted(name)}={quoted(value)}" for name, value in query)
        given_headers = {"X-Request-Timeout": "0.5", "Connection": "close", **headers}
        with closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)) as connection:
            connection.putrequest(method, f"{path}?{text}", skip_host="Host" in headers)
            for name, value in given_headers.items():
                connection.putheader(name, value.encode("latin-1"))
            connection.endheaders()
            if given_headers.get("Content-Length", "").isdigit():
                return  # it waits for what does not come
            response = connection.getresponse()
            body = response.read()
        seen.add(response.status)
        assert response.status in EXPECTED, (method, path, text, headers, response.status, body[:300])
        assert b"Traceback" not in body

    ask()
    assert {200, 302, 400, 403, 405} <= seen
    until(lambda: not site.get("/pool/").json["sum"]["holders"])
    answer = site.get("/pool/").json
    assert answer["sum"]["pool_size"] == answer["sum"]["pool_available"]
    assert {each["size"] for each in answer["workers"]} == {4}, "nobody has resized it"


@pytest.mark.parametrize("path", ["/", "/admin/", "/admin/login/", "/fast/", "/nothing"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/x-www-form-urlencoded; charset=utf-16"},
        {"Content-Type": "multipart/form-data; boundary=x", "Host": "evil.example"},
        {"Content-Type": "multipart/form-data"},
        {"Cookie": 'sessionid="\\000aaaaaaaa"'},
    ],
)
def test_it_refuses_what_django_fails_on(site: Site, path: str, headers: dict[str, str]) -> None:
    """A form whose base64 is none, too: on the way to the page of 400 it was looked into once more."""
    part = b'Content-Disposition: form-data; name="a"; filename="a"\r\nContent-Transfer-Encoding: base64'
    form, given = b"--x\r\n" + part + b"\r\n\r\na\r\n--x--\r\n", {"Cookie": f"csrftoken={'a' * 32}", **headers}
    said = len(site.log)
    for method in ("POST", "GET"):
        with closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)) as connection:
            connection.request(method, f"{path}?a=%ff", form, given)
            assert connection.getresponse().status < 500
    assert site.log.count("Traceback", said) < 9, "each middleware met it again"


PARAMETERS = [(f"/{each.name}/", name) for each in WORKLOADS.values() for name in each.parameters]


@pytest.mark.parametrize(("path", "name"), [*PARAMETERS, ("/readyz", "waiting")])
def test_it_takes_or_refuses_every_kind_of_number(site: Site, path: str, name: str) -> None:
    for value in NASTY:
        answer = site.get(f"{path}?{name}={quoted(value)}", **{"X-Request-Timeout": "0.5"})
        assert answer.status in (200, 400, 503), (value, answer)
        assert answer.status != 400 or "accepted" in answer.text, "it says what is"
