"""The dataflow engine: stages joined by bounded channels. Knows no database, no HTTP and no
artifact; items are of any class.
"""
