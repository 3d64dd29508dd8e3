"""Goodput under more requests than the slots can carry: the figures of docs/overload.md."""
