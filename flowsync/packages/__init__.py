"""What sources of packages have in common: OpenPGP, packings, the order of versions.

A source imports nothing of another one, so it stands here. It needs `flowsync[packages]`.
"""
