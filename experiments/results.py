"""Results of benchmarks on disk: one JSON file of numbers, and one table."""

import hashlib
import json
import pathlib
from collections.abc import Collection
from typing import Any

from tempo_jax import files
from tempo_jax.output import provenance


def checksum(*content: Any) -> str:
  """Of what a row of a table depends on."""
  return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def known_rows(stem: pathlib.Path, needed: Collection[str]) -> dict[str, dict[str, Any]]:
  """Rows that an earlier run wrote as `rows`, by their 'key', a checksum.

  Args:
    stem: of the files, as for `write`.
    needed: what a row must have, to be one.

  Returns:
    None where there are none, or the file is damaged.
  """
  try:
    rows = json.loads(stem.with_name(f'{stem.name}.json').read_text())['rows']
    return {row['key']: row for row in rows if {'key', *needed} <= row.keys()}
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    return {}


def write(stem: pathlib.Path, table: str, **content: Any) -> dict[str, Any]:
  """Writes STEM.json, with versions and device, and STEM.md.

  Args:
    stem: both files without their extension.
    table: Markdown.
    **content: of the JSON file.

  Returns:
    The JSON file, as one would read it.

  Raises:
    InputError: a file cannot be written.
  """
  content |= {'versions': provenance.versions(), 'device': provenance.device()}
  text = json.dumps(content, indent=1, allow_nan=False) + '\n'
  files.write_text(stem.with_name(f'{stem.name}.json'), text)
  files.write_text(stem.with_name(f'{stem.name}.md'), table)
  return json.loads(text)
