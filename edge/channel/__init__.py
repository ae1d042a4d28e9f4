"""How the device's own processes speak: typed messages over Unix sockets, and the frame mailbox in shared memory.

Frames go through the mailbox and nowhere else; no message carries one. `frames` runs under the system Python of a
Raspberry Pi too, so it needs numpy and the standard library only.
"""
