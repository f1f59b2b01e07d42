import errno

import pytest

from flowsync.errors import (
    ExportError,
    StoreError,
    StoreFullError,
    StoreUnwritableError,
)
from flowsync.store.durability import export_errors, store_errors


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, StoreFullError),
        (errno.EDQUOT, StoreFullError),
        (errno.EFBIG, StoreFullError),
        (errno.EACCES, StoreUnwritableError),
        (errno.EPERM, StoreUnwritableError),
        (errno.EROFS, StoreUnwritableError),
        (errno.EIO, StoreError),
        (errno.EXDEV, StoreError),
    ],
)
def test_the_errno_says_which_store_error_it_is(code, kind):
    with pytest.raises(StoreError) as caught, store_errors("storing"):
        raise OSError(code, "words")

    assert type(caught.value) is kind
    assert str(caught.value) == "storing: words"
    assert isinstance(caught.value.__cause__, OSError)


def test_what_is_neither_full_nor_forbidden_is_what_the_caller_says():
    with pytest.raises(StoreUnwritableError), store_errors("opening", StoreUnwritableError):
        raise OSError(errno.ENOTDIR, "words")


def test_the_path_is_named_where_the_system_names_one():
    with pytest.raises(StoreError, match=r"^reading: Input/output error: /some/file$"):
        with store_errors("reading"):
            raise OSError(errno.EIO, "Input/output error", "/some/file")


def test_other_errors_pass():
    with pytest.raises(KeyError), store_errors("storing"):
        raise KeyError


def test_exports_fail_with_export_errors():
    with pytest.raises(ExportError, match=r"^exporting: No space left on device: /x$"):
        with export_errors("exporting"):
            raise OSError(errno.ENOSPC, "No space left on device", "/x")
