"""Values that every floor speaks: digests, artifacts, content, remotes, repositories, events,
errors. No I/O, no clock.
"""
