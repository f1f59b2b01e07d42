"""The command line: the edge that reads settings, wires the engine, and talks to a person or a
machine. Nobody imports it.
"""
