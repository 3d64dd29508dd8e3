"""What the pool costs: itself against other pools, and few waiters against many. `make bench`, docs/benchmarks.md."""
