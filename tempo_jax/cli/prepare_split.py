r"""Splits the proteins of a store by sequence identity.

    tempo-jax prepare split --store=stores/mdcath --max_identity=0.4 --fractions=0.8,0.1,0.1
    tempo-jax prepare split --store=stores/atlas --fixed=train.csv,val.csv,test.csv

No two proteins of different splits are above --max_identity: proteins are linked where any of
their chains are above it, and each cluster of linked proteins goes into one split, with all its
temperatures and replicas. The largest clusters go to training. How identity is measured is in the
docstring of tempo_jax.preparation.splitting.sequence_identity. The split is written into the store
and into a CSV file, which --fixed can read; a table shows the size of each split, and the most
similar proteins of different splits.

--fixed takes published splits as they are, and warns of every pair above --max_identity. Proteins
that are not listed keep their split, and are compared too.
"""

from absl import flags

from tempo_jax.cli import command
from tempo_jax.errors import InputError
from tempo_jax.preparation.splitting import sequence_identity, split


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string('store', None, 'Directory of the store. Required.', flag_values=values)
  flags.DEFINE_float(
    'max_identity',
    0.4,
    'Proteins of different splits are at most this much identical, as a fraction (0 to 1).',
    flag_values=values,
  )
  flags.DEFINE_list(
    'fractions',
    ['0.8', '0.1', '0.1'],
    'How much of all proteins goes to train, validation and test; 0 leaves a split out.',
    flag_values=values,
  )
  flags.DEFINE_integer(
    'seed', 0, 'Chooses among clusters of equal size.', lower_bound=0, flag_values=values
  )
  flags.DEFINE_enum(
    'method',
    'auto',
    ['auto', *sequence_identity.METHODS],
    'What compares sequences. pyopal aligns every pair; mmseqs (MMseqs2, from the PATH) is quicker '
    'for more than some 20,000 different chains, and misses some pairs. auto: what is installed, '
    'both where both are; beyond 20,000 chains mmseqs alone if it is there.',
    flag_values=values,
  )
  flags.DEFINE_list(
    'fixed',
    [],
    'Lists to take the splits from, comma-separated, in place of --fractions and --seed: CSV with '
    'columns name and split, or one file per split with train, val or test in its name. Pairs '
    'above --max_identity are reported. Proteins that are not listed keep their split.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'out',
    None,
    'CSV file to write: name, split, cluster (1 is the largest) and length (residues) of every '
    'protein. An earlier one is replaced. Default: STORE.splits.csv beside the store.',
    flag_values=values,
  )
  flags.DEFINE_bool(
    'dry_run', False, 'Print what would be done, and write nothing.', flag_values=values
  )


def main(values: flags.FlagValues) -> None:
  """From the flags to `split`."""
  command.require(values, 'store')
  for flag in ('fractions', 'seed'):
    if values.fixed and values[flag].present:
      raise InputError(f'--fixed takes the splits as they are listed: leave out --{flag}')
  try:
    fractions = [float(fraction) for fraction in values.fractions]
  except ValueError as error:
    raise InputError(
      f'--fractions={",".join(values.fractions)}: not numbers: give e.g. 0.8,0.1,0.1'
    ) from error
  split.split(
    values.store,
    max_identity=values.max_identity,
    fractions=fractions,
    seed=values.seed,
    method=values.method,
    fixed=values.fixed,
    out=values.out,
    dry_run=values.dry_run,
  )
