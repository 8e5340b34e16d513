"""What computing costs: yardsticks timed beside it, and the history of benchmarks."""
