"""The admin's login: who guesses waits, and nobody else does."""

from io import BytesIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client, RequestFactory

from project import throttle
from project.throttle import FOR_A_NAME, FOR_AN_ADDRESS, WINDOW_S, Tries


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_it_lets_so_many_try_in_a_minute_and_the_next_when_the_first_is_a_minute_ago() -> None:
    clock = Clock()
    tries, key = Tries(clock), {("here", "alice"): 3}
    for _ in range(3):
        assert tries.wait_s(key) == 0
        clock.now_s += 10
    assert tries.wait_s(key) == 30
    assert tries.wait_s(key) == 30, "who is refused is not counted"
    clock.now_s += 30.001
    assert tries.wait_s(key) == 0
    assert tries.wait_s(key) > 9


def test_it_counts_a_name_and_its_address_apart_from_others() -> None:
    tries = Tries(Clock())
    for _ in range(2):
        assert tries.wait_s({("here", "alice"): 2, ("here",): 3}) == 0
    assert tries.wait_s({("here", "alice"): 2, ("here",): 3}) > 0
    assert tries.wait_s({("here", "bob"): 2, ("here",): 3}) == 0
    assert tries.wait_s({("here", "carol"): 2, ("here",): 3}) > 0, "the address has had its three"
    assert tries.wait_s({("there", "alice"): 2, ("there",): 3}) == 0


def test_it_forgets_a_try_that_was_none_and_remembers_no_end_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = Tries(Clock())
    for _ in range(9):
        assert tries.wait_s({("here",): 1}) == 0
        tries.take_back({("here",): 1})
    monkeypatch.setattr(throttle, "REMEMBERED", 10)
    for number in range(100):
        tries.wait_s({(f"name {number}",): 1})
    assert len(tries._tries) == 10


def test_it_refuses_the_sixth_guess_without_hashing_and_lets_others_in(db: None, settings: Any) -> None:
    User.objects.create_superuser("alice", password="right")
    User.objects.create_superuser("bob", password="right")
    client = Client()

    def log_in(name: str, password: str) -> Any:
        return client.post("/admin/login/?next=/admin/", {"username": name, "password": password})

    assert [log_in("alice", "wrong").status_code for _ in range(FOR_A_NAME)] == [200] * FOR_A_NAME
    refused = log_in("Alice", "right")
    assert refused.status_code == 429
    for spelling in (
        " alice",
        "alice" + 200 * " ",
        "\uff41lice",
        "al\uff29ce",
    ):
        assert log_in(spelling, "right").status_code == 429, spelling
    assert 0 < int(refused.headers["Retry-After"]) <= WINDOW_S
    for _ in range(FOR_AN_ADDRESS):  # logins that succeed are not counted
        assert log_in("bob", "right").status_code == 302


@pytest.mark.parametrize(
    ("proxies", "forwarded", "counted"),
    [
        (0, "203.0.113.9", "192.0.2.1"),  # anybody may have written that
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "10.9.9.9, 203.0.113.9", "203.0.113.9"),  # what the visitor sent stands before it
        (2, "10.9.9.9, 203.0.113.9, 198.51.100.1", "203.0.113.9"),
        (2, "203.0.113.9", "192.0.2.1"),  # it did not come by both
        (1, "", "192.0.2.1"),
        (1, "2001:db8:7:8:9:a:b:c", "2001:db8:7:8::/64"),
        (1, "::ffff:203.0.113.9", "203.0.113.9"),
        (1, "203.0.113.9:51234", "203.0.113.9"),
        (1, "[2001:db8:7:8:9:a:b:c]:51234", "2001:db8:7:8::/64"),
        (1, "[2001:db8:7:8:9:a:b:c]", "2001:db8:7:8::/64"),
        (1, "not an address", "not an address"),
    ],
)
def test_it_counts_for_the_visitor_and_not_for_the_balancer(
    proxies: int, forwarded: str, counted: str, settings: Any
) -> None:
    settings.PROXIES = proxies
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    request = RequestFactory().post("/admin/login/", headers=headers, REMOTE_ADDR="192.0.2.1")
    assert throttle.visitor(request) == counted


def test_it_leaves_a_login_whose_visitor_hangs_up_to_others() -> None:
    """It was an error of the site, with sixty lines in the log."""

    class Gone(BytesIO):
        def read(self, *_: Any) -> bytes:
            raise ConnectionResetError

    extra: dict[str, Any] = {"CONTENT_TYPE": "application/x-www-form-urlencoded", "CONTENT_LENGTH": "9"}
    extra["wsgi.input"] = Gone()
    assert throttle.account(RequestFactory().generic("POST", "/admin/login/", **extra)) == ""
