"""Text files that appear whole or not at all."""

import os
import pathlib


def write_text(path: str | os.PathLike[str], text: str) -> None:
  """Writes a file aside, and renames it.

  Args:
    path: the file; missing folders are made, an existing file is replaced.
    text: its content.

  Raises:
    OSError: it cannot be written; what was there before still is.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  aside = path.with_name(f'.{path.name}.{os.getpid()}')
  try:
    aside.write_text(text, encoding='utf-8')
    os.replace(aside, path)
  finally:
    aside.unlink(missing_ok=True)
