"""Kinds of upstream that flowsync can sync from, one folder a kind. Each imports only `flowsync`,
as a plugin of another project would.
"""
