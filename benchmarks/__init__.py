"""Benchmarks: run as modules from the project's folder, `python -m benchmarks.<name>`."""
