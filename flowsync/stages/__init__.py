"""The built-in stages, one file a stage. Each reads what a batch needs, calls its port once, writes
the answers back, puts the items on.
"""
