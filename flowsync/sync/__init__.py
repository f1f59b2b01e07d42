"""The composition of a sync: the engine that owns the resources, and the declarative version that
runs the stages.
"""
