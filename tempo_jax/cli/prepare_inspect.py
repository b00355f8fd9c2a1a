"""Shows the contents of a store, and checks every frame.

    tempo-jax prepare inspect --store=stores/mdcath

Reads every frame and reports problems: entries that are missing or damaged, wrong units, broken and
clashing molecules, mirror images, cis and twisted peptide bonds, frozen and repeated frames, gaps,
replicas that are copies, test proteins that are trained on. An HTML page shows the same with
pictures (needs the extra `report`). One process reads a store of less than 64 MiB. The exit code
is 1 if there are errors, that is, something that cannot be used.
"""

from absl import flags

from tempo_jax.cli import command, worker_flags
from tempo_jax.preparation.inspection import inspect


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string(
    'store',
    None,
    'Directory of the store, or its gs://, s3:// or http:// URL. Required.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'out',
    None,
    'Where the HTML page goes: a file that ends in .html, or a directory, which gets '
    f'{inspect.PAGE}. An earlier page is replaced. Default: tempo_out/NAME of the store.',
    flag_values=values,
  )
  flags.DEFINE_list(
    'names', [], 'Proteins to look at, comma-separated. Default: all.', flag_values=values
  )
  flags.DEFINE_bool(
    'verify',
    True,
    'Compare all coordinates with the SHA-256 that the store knows of them.',
    flag_values=values,
  )
  worker_flags.define_flags(values)


def main(values: flags.FlagValues) -> int:
  """From the flags to `inspect`."""
  command.require(values, 'store')
  return inspect.inspect(
    values.store,
    out=values.out,
    names=values.names,
    num_workers=values.num_workers,
    scheduler=values.scheduler,
    verify=values.verify,
  )
