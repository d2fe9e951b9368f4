"""The ZIP archive that an office file or a book is, and how large it may be unpacked."""

from __future__ import annotations

import io
import zipfile

from mrag_pipeline.corpus.formats.charset import NotText

MAX_UNPACKED_BYTES = 500_000_000  # of all files in a .docx, .pptx, .xlsx or .epub
_OLD_OFFICE = b"\xd0\xcf\x11\xe0"  # the container of .doc, and of encrypted .docx


def unpacked(data: bytes) -> zipfile.ZipFile:
    """The ZIP archive that an office file or a book is.

    Raises: NotText if it is none, or would be too large unpacked.
    """
    if data.startswith(_OLD_OFFICE):
        raise NotText("it is encrypted, or of the binary format before 2007: save it as it is now")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile as error:
        raise NotText(f"it is damaged: {error}") from None
    if any(entry.flag_bits & 1 for entry in archive.infolist()):
        raise NotText("it is encrypted")
    num_bytes = sum(entry.file_size for entry in archive.infolist())
    if num_bytes > MAX_UNPACKED_BYTES:
        raise NotText(
            f"it would be {num_bytes:,} bytes unpacked, expected at most {MAX_UNPACKED_BYTES:,}"
        )
    return archive
