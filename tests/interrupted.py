"""Something that comes up at a chosen place of a piece of work, as a signal's handler or a finaliser does.

Python lets them in after a call, at a function's start and at a jump back, and nowhere else: each such place of each
operation can have its turn.
"""

import dis
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

LETS_IN = {"CALL", "CALL_FUNCTION_EX", "CALL_KW", "RESUME", "JUMP_BACKWARD"}


class Signal(BaseException):
    """What a signal handler raises."""


def raise_signal() -> None:
    raise Signal


class Interrupted:
    """Runs `work`, and does `what` at the nth place in the files of `where` at which it can be interrupted.

    `error` is what came out of it; `reached`: there was such a place.
    """

    def __init__(self, work: Callable[[], Any], nth: int, what: Callable[[], None], where: tuple[str, ...]) -> None:
        self.nth, self.what, self.where, self.seen = nth, what, where, 0
        self.last: dict[FrameType, str] = {}
        self.me = threading.get_ident()
        self.error: BaseException | None = None
        old = sys.gettrace()
        sys._getframe().f_trace_opcodes = True  # Python 3.12 tells of opcodes only where this was set beforehand
        sys.settrace(self._called)
        try:
            work()
        except BaseException as error:
            self.error = error
        finally:
            sys.settrace(old)
            self.last.clear()

    @property
    def reached(self) -> bool:
        return self.seen >= self.nth

    def _called(self, frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(self.where) or threading.get_ident() != self.me:
            return None
        self.last[frame] = "RESUME"  # of which Python 3.11 does not tell
        frame.f_trace = self._inside  # Python 3.13 hears the next wish only of a frame that has one
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._inside

    def _inside(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "return":
            if frame.f_back is not None:
                self.last.pop(frame.f_back, None)  # nothing is let in when a function of ours returns
            self.last.pop(frame, None)
        elif event == "opcode" and threading.get_ident() == self.me:
            before = self.last.get(frame, "")
            self.last[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            if before in LETS_IN:
                self.seen += 1
                if self.seen == self.nth:
                    self.what()
        return self._inside
