"""Turns frames into member codes and, later, into scores. Arrays stop here: only texts and scores leave the package."""
