"""Files that hold parts: a document for each page, slide, sheet, chapter or message."""
