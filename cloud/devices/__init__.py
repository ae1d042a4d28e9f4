"""Kiosks: how one is claimed, certified, told what it must know, and shut out again."""
