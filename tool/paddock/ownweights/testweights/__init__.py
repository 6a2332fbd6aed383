"""Small test weights: they let a stack run for real where upstream's weights are not at hand.

Every set says in its own directory (TEST_WEIGHTS.md) and in every answer that nothing was read from the page.
"""
