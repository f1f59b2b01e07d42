"""Lets failing assertions of the contract suite show their values."""

import pytest

pytest.register_assert_rewrite("flowsync.testing")
