"""Benchmarks: each module prints one table and can be run by itself; `python -m tests.bench` prints them all."""
