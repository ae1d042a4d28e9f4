"""The device's database: SQLite in WAL mode with synchronous=FULL, one writer process, forward-only migrations.

`database.py` opens, migrates and commits; the other files each keep one subject. No rule is decided here.
"""
