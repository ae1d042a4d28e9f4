"""The schema's history, forward only: literal DDL that imports no domain, so that old scripts keep their meaning."""
