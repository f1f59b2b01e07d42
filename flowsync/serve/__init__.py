"""Read-only HTTP over versions: what is stored goes out from the store, what is not is fetched when
it is asked for.
"""
