"""MQTT in and out: bytes to and from devices, and the private broker's own files. It knows no claim and no ledger."""
