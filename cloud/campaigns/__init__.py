"""Campaigns: a budget of points, and what of it each kiosk may grant while nobody can ask."""
