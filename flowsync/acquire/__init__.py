"""How verified bytes come from their sources: one way for syncs, for what is served, and for
repairs.
"""
