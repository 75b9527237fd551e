"""THE WAY: an event comes in, is described, scored, judged, asked about, answered, learnt from.

`flows.fraud` reads the way aloud. This is the only package that knows Bytewax, and the only one
that knows everyone else: it is the composition root.
"""
