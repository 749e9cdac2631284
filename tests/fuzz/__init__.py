"""Every parser, fed with what nobody would write: real inputs, cut, repeated, swapped and spoilt.

A few hundred examples each in ``make test``; ``make fuzz`` takes as many as ``FUZZ_EXAMPLES`` says, others each time. A
case that it finds is to be kept as an ``@example``, or as a test beside the parser's others.
"""
