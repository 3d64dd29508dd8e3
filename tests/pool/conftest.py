"""Each test leaves no open pool behind."""

from collections.abc import Iterator

import pytest

from .world import close_all


@pytest.fixture(autouse=True)
def no_open_pools() -> Iterator[None]:
    yield
    close_all()
