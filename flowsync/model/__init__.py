"""Values that every floor speaks: digests, artifacts, content, remotes, repositories, events.
No I/O, no clock.
"""
