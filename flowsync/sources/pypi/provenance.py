"""Proves by attestations who published a file (PEP 740): bytes in, a reason or none out. Blocks; it
is loaded only where it is asked for, because Sigstore takes half a second to load.

The publisher is the one that the index names. The proof is made without asking anyone: by the roots
of trust that come with Sigstore, and by the log entry that each attestation holds.
"""

from pathlib import Path

from flowsync.errors import SettingsError

try:
    from pydantic import ValidationError
    from pypi_attestations import (
        AttestationError,
        Distribution,
        Provenance,
    )
except ImportError as error:
    raise SettingsError(
        "provenance = 'verify' needs pypi-attestations, which is not installed; install "
        "flowsync[attestations]"
    ) from error


def problem_with(path: str, filename: str, sha256: str | None) -> str | None:
    """Return why the attestations in the file at `path` do not prove a file; `None` when all do."""
    if sha256 is None:
        return "its sha256 is not told, which attestations name"
    try:
        found = Provenance.model_validate_json(Path(path).read_bytes())
        pairs = [
            (bundle.publisher, attestation)
            for bundle in found.attestation_bundles
            for attestation in bundle.attestations
        ]
        if not pairs:
            return "there is no attestation in its provenance"
        distribution = Distribution(name=filename, digest=sha256)
        for publisher, attestation in pairs:
            attestation.verify(publisher, distribution, offline=True)
    except (AttestationError, ValidationError, ValueError, RecursionError) as error:
        return f"its attestations do not hold: {str(error).partition(chr(10))[0][:200]}"
    return None
