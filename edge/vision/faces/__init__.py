"""From a frame to scores: find faces, follow them, judge their quality, turn them into numbers, compare.

Frames, crops, tensors and probes stay in this package, in buffers it owns and wipes. Nothing here knows a name, a
database or a message; what leaves is scores, member pseudonyms and sealed bytes.
"""
