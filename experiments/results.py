"""Results of benchmarks on disk: one JSON file of numbers, and one table."""

import json
import pathlib
from typing import Any

from tempo_jax import files
from tempo_jax.output import provenance


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
