"""The contract both halves agree on.

Standard library, msgspec and cryptography only; pure values and functions, no clock, no I/O, nothing that
knows a camera, a database or a broker. Both halves import it; it imports neither.
"""
