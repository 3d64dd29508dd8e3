"""A site for the length of a test: what it answers is a handler's."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Pages(BaseHTTPRequestHandler):
    """What it answers."""

    def do_GET(self) -> None:
        login = self.path == "/secret/" and self.headers["Cookie"] != "known"
        self.send_response(302 if login else 500 if self.path == "/broken/" else 200)
        if login:
            self.send_header("Location", "/login/")
        self.end_headers()
        self.wfile.write(json.dumps({"workers": [{"pools": {"default": {"stats": {"pool_max": 7}}}}]}).encode())

    def log_message(self, *_: object) -> None: ...


@contextmanager
def served(pages: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Its address while it is served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
