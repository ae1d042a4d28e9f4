"""What happens in which order: load, decide, save, show. One file a use case; the rules are in `core`.

`agent.py` receives every event of the device and calls the use cases; nothing here waits, reads a clock of its own
or knows how a message travels, so the simulator runs it as it is.
"""
