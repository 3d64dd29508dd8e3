"""The pool's contract, once for greenlets and once for threads.

The files here use `threading` and `time` alone. pytest runs them with threads; `run_green.py` patches a process of its
own and runs the same files with greenlets, and `test_green.py` asks it how each test went.
"""
