"""Bring bodies from URLs: HTTP and local files behind one `Fetcher`, opened by
`flowsync.download.fetcher.open_fetcher`.
"""
