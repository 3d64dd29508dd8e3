"""The one error of the embedded server, and what its programs' words mean."""

# The system's words, and PostgreSQL's where it could write a part of a page.
FULL = ("No space left on device", "Disk quota exceeded", "Check free disk space")
CURES = (
    # Before the disk: of semaphores and shared memory, too, the kernel says that no space is left on the device.
    ("semaphores", "this machine gives it no semaphores: allow more (sysctl kernel.sem), or set DATABASE_URL"),
    (
        "shared memory",
        "this machine gives it no shared memory: allow more (docker run --shm-size=256m, sysctl kernel.shmmax), "
        "or set DATABASE_URL",
    ),
    *((words, "the disk is full: make room (df -h shows where), then the same command again") for words in FULL),
    ("already running", "another server has its socket: end that one, or set DATABASE_URL to it"),
    ("already in use", "another server has its socket: end that one, or set DATABASE_URL to it"),
    (
        "Read-only file system",
        "its folder cannot be written: make it yours (chown), or set DATABASE_URL and SECRET_KEY",
    ),
    ("Permission denied", "its folder cannot be written: make it yours (chown), or set DATABASE_URL and SECRET_KEY"),
)


class EmbeddedError(Exception):
    """The embedded PostgreSQL cannot do what was asked; the text says what happened and what to do."""


def cure(said: str) -> str:
    """What PostgreSQL's programs mean by what they said, with what to type, as the start of a text; empty: unknown."""
    return next((f"{meaning[0].upper()}{meaning[1:]}.\n" for words, meaning in CURES if words in said), "")
