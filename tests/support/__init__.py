"""Typed fakes, fixtures and private servers that the tests of both halves share."""
