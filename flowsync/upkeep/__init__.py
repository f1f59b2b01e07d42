"""The upkeep of a store and its catalog: clean-up, verification with repair, and the release of
bytes that can be fetched again.
"""
