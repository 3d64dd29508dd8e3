"""Each workload swept twice, and whether the verdict is what theory expects. `make workloads`, docs/workloads.md."""
