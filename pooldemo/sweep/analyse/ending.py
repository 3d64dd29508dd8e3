"""How a process ended, in words."""

import signal

BY_WHOM = "by somebody, or by the kernel because memory ran out (dmesg says so; end what takes it, then try again)"


def ending(code: int) -> str:
    """Of what Python calls its return code: "ended with 3", or that it was killed, and by whom that may have been."""
    if code >= 0:
        return f"ended with {code}"
    how = f"was killed by signal {-code} ({signal.strsignal(-code)})"
    return f"{how}, {BY_WHOM}" if -code == signal.SIGKILL else how
