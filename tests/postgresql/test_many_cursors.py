"""A connection knows the cursors that live, of whichever thread, and forgets the others soon."""

import sys
import threading
import weakref
from typing import Any

from pooldemo.postgresql.session import Session


class Cursor:
    """Any will do."""


def test_threads_that_share_a_connection_ask_it_for_cursors_at_the_same_time() -> None:
    session, before = Session(), sys.getswitchinterval()
    kept: list[Any] = []
    errors: list[BaseException] = []

    def ask() -> None:
        mine = [Cursor() for _ in range(100)]
        kept.append(mine)
        try:
            for cursor in mine:
                session.add_cursor(cursor)
                for _ in range(100):
                    session.add_cursor(Cursor())
        except BaseException as error:
            errors.append(error)

    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not errors
    assert {reference() for reference in session._cursors} >= {cursor for mine in kept for cursor in mine}
    assert len(session._cursors) < 2000


def test_what_others_add_while_a_connection_forgets_its_dead_cursors_is_forgotten_soon() -> None:
    class Shared(set[Any]):
        """Others have one turn, as soon as the first dead ones are gone."""

        def difference_update(self, *gone: Any) -> None:
            super().difference_update(*gone)
            theirs.extend(Cursor() for _ in range(1000))
            self.update(map(weakref.ref, theirs))
            theirs.clear()
            session._cursors = set(self)

    theirs: list[Cursor] = []
    session = Session()
    session._cursors = Shared()
    for _ in range(200):
        session.add_cursor(Cursor())
    assert len(session._cursors) < 200
