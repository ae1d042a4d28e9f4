"""Forward-only SQL of the template database, one transaction each. A file never changes once it was released."""
