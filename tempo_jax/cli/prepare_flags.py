"""Flags that several `tempo-jax prepare` commands share."""

from absl import flags

LIST_FORMAT = (
  'text with one name a line, or CSV with a column name and perhaps a column split. Without the '
  'latter, the name of the file gives the split: *train*, *val* or *test*.'
)
"""Help on the files that `name_lists.read` reads."""


def define_store(values: flags.FlagValues) -> None:
  """--store, of the commands that add to one."""
  flags.DEFINE_string(
    'store',
    None,
    'Directory of the store, which is made or added to. Required.',
    flag_values=values,
  )


def define_mirror(values: flags.FlagValues, url: str) -> None:
  """--mirror, for datasets that can be downloaded.

  Args:
    values: in which it is defined.
    url: where the dataset is.
  """
  flags.DEFINE_string(
    'mirror',
    url,
    'URL that --download gets files from, at the same paths below it as below the default.',
    flag_values=values,
  )


def define_longer(values: flags.FlagValues, what: str, max_residues: int) -> None:
  """--max_residues and --longer, for datasets of many proteins.

  Args:
    values: in which they are defined.
    what: the dataset calls its proteins.
    max_residues: the default; 0 for no limit.
  """
  flags.DEFINE_integer(
    'max_residues',
    max_residues,
    f'Longest {what} to take whole, in residues; --longer says what becomes of others. 0: no '
    f'limit. Default: {max_residues or "no limit"}.',
    flag_values=values,
  )
  flags.DEFINE_enum(
    'longer',
    'truncate',
    ['truncate', 'skip'],
    f'truncate: take the first --max_residues of a longer {what}. skip: leave it out.',
    flag_values=values,
  )


def define_overwrite(values: flags.FlagValues) -> None:
  """--overwrite, for datasets of many proteins."""
  flags.DEFINE_bool(
    'overwrite',
    False,
    'Replace what was prepared from other files or with other settings.',
    flag_values=values,
  )
