"""The command line: the edge that reads settings, wires the engine, and talks to a person or a
machine. No other room imports it.
"""
