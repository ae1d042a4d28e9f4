"""The agent at a store entrance: sees codes, decides, saves, shows, and tells the cloud when there is a line.

Start at `app.py` (one composition root a process), then `flow/` (load, decide, save, show), then `core/` (the rules).
"""
