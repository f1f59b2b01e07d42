"""What tests of adapters need: the suites that every blob store and every executor passes, and a
store in memory.

The suites, `blob_store_contract` and `executor_contract`, need pytest and pytest-asyncio, which
flowsync does not install; the store, `memory_store`, needs neither.
"""
