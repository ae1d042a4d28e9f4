"""One suite a port: the real thing and every stand-in for it must pass the same tests."""
