"""The service that owns the catalogue, the ledger and validation: it judges what kiosks decided.

Organised by domain; ARCHITECTURE.md has the map. It never imports the edge: the two meet in `shared`, on a wire.
"""

VERSION = "0.1.0"  # the product's, as in pyproject.toml; the packages also run from a checkout, without metadata
