"""Requests and answers as values: what a target means, what conditions and ranges come to.
No I/O.
"""
