"""The project that a command is typed in, and its site where that runs: what a sweep and `manage.py pool` ask them."""
