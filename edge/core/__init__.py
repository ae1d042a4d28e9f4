"""The rules of the entrance, pure: no clock, no I/O, no arrays. Same arguments, same answer, on any machine."""
