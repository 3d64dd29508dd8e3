"""`python -m postgresql.lookout DSN PID ROLE`: looks at a server until its input ends, and prints what it saw as JSON.

PID is the server's first process; a client's process names itself "postgres: ROLE DATABASE CLIENT ...", from the first
message on, and no more when it has let go of its socket.
"""

import importlib.util
import json
import select
import sys
from collections import Counter
from typing import Any

import psutil

COUNT_SQL = """
    SELECT pid, usename FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
    AND usename IS DISTINCT FROM 'postgres'
"""


def client(process: psutil.Process, role: str) -> str:
    """Where the client of this process is, "" if it is not one of the role."""
    try:
        words = " ".join(process.cmdline()).split()
    except psutil.Error:
        return ""
    is_one = words[:1] == ["postgres:"] and words[1:2] == [role] and len(words) > 3 and "walsender" not in words
    return words[3].split("(")[0] if is_one else ""


def logs_in(pid: int, role: str) -> bool:
    """Whether a process whose user PostgreSQL does not tell yet is the role's: a test's own psql logs in as well."""
    try:
        return bool(client(psutil.Process(pid), role))
    except psutil.Error:
        return False


def clients(server: psutil.Process, role: str) -> "Counter[str]":
    return Counter(filter(None, (client(child, role) for child in server.children())))


def cursor_of(dsn: str) -> Any:
    name = "psycopg2" if importlib.util.find_spec("psycopg2") else "psycopg"
    connection = importlib.import_module(name).connect(dsn)
    connection.autocommit = True
    return connection.cursor()


def main() -> None:
    dsn, pid, role = sys.argv[1:]
    cursor, server = cursor_of(dsn), psutil.Process(int(pid))
    looks = most = 0
    processes: Counter[str] = Counter({"[local]": 0, "127.0.0.1": 0})
    print("ready", flush=True)  # noqa: T201
    while not select.select([sys.stdin], [], [], 0)[0]:
        last = 10**6
        for _ in range(6):
            cursor.execute(COUNT_SQL)
            count = sum(user is not None or logs_in(pid, role) for pid, user in cursor.fetchall())
            # Twice in a row: PostgreSQL reads its processes one by one, and may tell of one that ends and of the next.
            most, last = max(most, min(count, last)), count
            looks += 1
        processes |= clients(server, role)
        looks += 1
    print(json.dumps({"looks": looks, "most": most, "processes": processes}))  # noqa: T201


if __name__ == "__main__":
    main()
