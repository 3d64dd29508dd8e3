"""An hour of everything, and what has grown meanwhile: `python -m benchmarks.soak` (`make soak`)."""
