"""Answers for people: a browser gets a page, a program its JSON, and both the same status and headers."""

import json
from io import BytesIO
from typing import Any

import pytest
from django.test import Client

from pooldemo.demo import people, views
from pooldemo.monitor.views import json_answer, readiness
from pooldemo.sweep.workloads import WORKLOADS

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_it_shows_a_browser_a_refusal_in_words_with_the_way_back(client: Client) -> None:
    answer = client.get("/slow/?ms=soon", headers=BROWSER)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"].startswith("text/html")
    html = answer.content.decode()
    assert "That is no parameter of it" in html
    assert json.loads(client.get("/slow/?ms=soon").content)["message"].split(";")[0] in html.replace("&#x27;", "'")
    assert 'href="/"' in html
    assert "Once more" not in html, "the same again is refused again"
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("accept", [{}, {"Accept": "*/*"}, {"Accept": "application/json, text/html"}])
def test_it_gives_a_program_its_json(client: Client, accept: dict[str, str]) -> None:
    answer = client.get("/slow/?ms=soon", headers=accept)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/json"


def test_it_tells_how_long_it_took_and_keeps_the_headers(rf: Any) -> None:
    answer = json_answer({"workload": "slow", "wait_ms": 1234.5, "query_ms": 100.02, "pid": 7})
    answer.headers["Server-Timing"] = "wait;dur=1"
    page = people.page(rf.get("/slow/"), answer)
    html = page.content.decode()
    assert "<dt>1,230 ms</dt><dd>it waited for a slot</dd>" in html
    assert (page.headers["Server-Timing"], page.headers["Vary"]) == ("wait;dur=1", "Accept")


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [("/nothing/", 404, "There is no such page"), ("/admin/nothing/", 404, "There is no such page")],
)
def test_it_says_in_a_page_what_is_wrong(admin_client: Client, path: str, status: int, said: str) -> None:
    answer = admin_client.get(path)
    assert answer.status_code == status
    html = answer.content.decode()
    assert f"<h1>{said}</h1>" in html
    assert f"<code>{path}</code>. It may have been deleted" in html, "no name of a class of Django's"
    assert 'href="/admin/pooldemo/sweep/"' in html


def test_it_refuses_another_sites_name_and_a_forbidden_page_in_words(client: Client, admin_client: Client) -> None:
    refused = client.get("/", headers={"Host": "elsewhere.example"})
    assert (refused.status_code, b"makes no sense here" in refused.content) == (400, True)
    forbidden = admin_client.get("/admin/pooldemo/sweep/run/", REMOTE_ADDR="192.0.2.7")
    assert (forbidden.status_code, b"You may not do that" in forbidden.content) == (403, True)


def test_it_says_why_a_form_is_not_taken_and_what_a_proxy_must_pass_on(db: None) -> None:
    refused = Client(enforce_csrf_checks=True).post("/admin/login/", headers={"Origin": "https://elsewhere.example"})
    assert (refused.status_code, b"This form was not taken" in refused.content) == (403, True)
    assert b"proxy_set_header Host $host;" in refused.content


def test_it_hides_from_a_stranger_what_happened_and_makes_up_no_other_cause(settings: Any) -> None:
    """It was "the database does not answer" of a deadline that had passed as well."""
    settings.EXPOSED = True
    said = people.told("a statement was ended at its deadline: UPDATE pooldemo_row")
    assert not any(word in said for word in ("pooldemo_row", "database", "connection", "log"))
    assert people.told("") == ""


def test_it_keeps_what_was_sent_while_postgresql_is_down(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "trouble", lambda: "it is gone")
    page = client.post("/admin/pooldemo/sweep/7/change/", {"notes": 'two\n"lines"', "_save": "Save"})
    html = page.content.decode()
    assert page.status_code == 503
    assert '<input type="hidden" name="notes" value="two\n&quot;lines&quot;">' in html
    assert "Send it again</button>" in html
    assert "Try again</a>" not in html, "a form's address is not asked for without it"
    login = client.post("/admin/login/", {"username": "me", "password": "secret"}).content.decode()
    assert "secret" not in login
    assert "Try again</a>" in client.get("/admin/").content.decode()


def test_it_is_no_fault_of_the_site_that_a_form_is_cut_off_while_postgresql_is_down(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone(BytesIO):
        def read(self, *_: Any) -> bytes:
            raise ConnectionResetError

    monkeypatch.setattr(readiness, "trouble", lambda: "it is gone")
    for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        form: dict[str, Any] = {"CONTENT_TYPE": kind, "CONTENT_LENGTH": "9", "wsgi.input": Gone()}
        assert client.generic("POST", "/admin/pooldemo/sweep/7/change/", **form).status_code == 503, kind


def test_it_has_a_page_for_every_workload() -> None:
    assert set(views.WORKLOAD_PATHS) == {f"/{name}/" for name in WORKLOADS}
