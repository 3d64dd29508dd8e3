"""A container's health: exit code 0 when what it serves answers 200. `python deploy/healthy.py web|locust`."""

import os
import sys
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

service = sys.argv[1]
# With a range of ports it is the server itself that knows which one it got (deploy/drain.py).
file = os.environ.get("PORT_FILE")
web = Path(file).read_text() if file else os.environ.get("WEB_PORTS", "8000")
port = web if service == "web" else os.environ.get("LOAD_PAGE_PORT", "8089")
here = build_opener(ProxyHandler({}))  # Docker gives its containers the proxy of whoever has one
here.open(f"http://127.0.0.1:{port}{'/healthz' if service == 'web' else '/'}", timeout=2)
