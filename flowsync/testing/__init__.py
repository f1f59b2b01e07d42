"""What tests of adapters need: the suite that every blob store passes, and a store in memory.

The suite, `blob_store_contract`, needs pytest and pytest-asyncio, which flowsync does not install;
the store, `memory_store`, needs neither.
"""
