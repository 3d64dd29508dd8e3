"""The numbers of workers and hosts that variables say."""

import pytest

from pooldemo.postgresql import checks


@pytest.mark.parametrize("given", ["many", "0", "9" * 5000])
def test_it_refuses_a_number_of_workers_or_hosts_that_is_none(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than 4,300 digits Python refuses to read one: it was a traceback."""
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    for variable in ("WEB_HOSTS", "WEB_CONCURRENCY"):
        monkeypatch.setenv(variable, given)
        [error] = checks.check_budget()
        assert error.id == "pooldemo.E003"
        assert f"{variable}={given!r} is not accepted" in error.msg
