"""Forward-only SQL, one transaction each with its own record. A file never changes once it was released."""
