"""How well, how soon and how cheaply people at the door are known by their faces: rendered visits, measured frame by
frame, beside the peers. Portraits are read, never written: what leaves is counts, scores without names and times.
"""
