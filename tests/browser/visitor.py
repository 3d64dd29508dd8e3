"""One visitor of the site, and a cable to PostgreSQL that can be cut."""

import socket
import threading
from contextlib import suppress
from typing import Any

from served import PATIENCE_S, until

PASSWORD = "seen, not read"


class Visit:
    """One visitor's tab; `complaints` are console errors, what the security policy refused, and uncaught errors."""

    def __init__(self, browser: Any, url: str, scripts: bool = True, **context: Any) -> None:
        self.url, self.complaints = url, list[str]()
        self.context = browser.new_context(
            java_script_enabled=scripts, viewport={"width": 1280, "height": 900}, **context
        )
        self.context.set_default_timeout(1000 * PATIENCE_S)
        self.page = self.context.new_page()
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def log_in(self, path: str) -> Any:
        """Log in on the way to `path`; the page."""
        self.page.goto(f"{self.url}/admin/login/?next={path}")
        self.page.fill("#id_username", "admin")
        self.page.fill("#id_password", PASSWORD)
        self.page.click("input[type=submit]")
        self.page.wait_for_url(f"{self.url}{path}")
        return self.page

    def go(self, path: str) -> Any:
        """The page at `path`."""
        self.page.goto(f"{self.url}{path}")
        return self.page

    def until(self, script: str) -> None:
        """Wait until the script says something true. Playwright's own way needs the eval that the policy forbids."""
        until(lambda: self.page.evaluate(script))

    def shown(self) -> str:
        """The page's address and text, and what it complained of."""
        try:
            return "\n".join([self.page.url, self.page.inner_text("body", timeout=5000), *self.complaints])
        except Exception as error:  # Playwright's own
            return f"{self.page.url}\n{error}"

    def _hear(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def close(self) -> None:
        self.context.close()
        assert not self.complaints, self.complaints


def asked_in(page: Any) -> list[str]:
    """What it asks for in more than twice its interval."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2500)
    return asked


class Cable:
    """A TCP port that leads to PostgreSQL until it is cut, and again when it is mended."""

    def __init__(self, host: str, port: int) -> None:
        self.target, self.ends = (host, port), list[socket.socket]()
        self.whole = True
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self.whole = False
        for end in self.ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self.whole = True

    def close(self) -> None:
        self.cut()
        self.listener.close()
        for end in self.ends:
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            if not self.whole:
                near.close()
                continue
            host, port = self.target
            if host.startswith("/"):
                far = socket.socket(socket.AF_UNIX)
                far.connect(f"{host}/.s.PGSQL.{port}")
            else:
                far = socket.create_connection((host, port))
            self.ends += (near, far)
            for here, there in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(here, there), daemon=True).start()


def _pump(here: socket.socket, there: socket.socket) -> None:
    with suppress(OSError):
        while data := here.recv(65536):
            there.sendall(data)
    with suppress(OSError):
        there.shutdown(socket.SHUT_RDWR)
