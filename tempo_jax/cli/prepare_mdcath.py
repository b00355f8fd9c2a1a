r"""Prepares domains of the mdCATH dataset for training.

    tempo-jax prepare mdcath --raw_dir=mdcath --store=stores/mdcath --preset=paper \
        --download=preset                                              # 1,114 domains
    tempo-jax prepare mdcath --raw_dir=mdcath --store=stores/mdcath    # all that are in --raw_dir

mdCATH (https://huggingface.co/datasets/compsciencelab/mdCATH; Mirarchi et al., Sci. Data 2024, 11,
1299) holds 5,398 protein domains, each simulated at five temperatures in five replicas, with a
frame every ns. One HDF5 file (0.2 to 1.6 GB) holds one domain, each replica of which becomes an
entry of the store. The defaults are the paper's choice: 320 K, three replicas, the first 240
residues and the first 400 frames.

Every frame is checked, and superposed on the domain's native structure. Corrupt frames at the end
of a replica are cut, and molecules that the periodic box breaks are made whole; both are reported
and noted in the entry. A replica that cannot be mended is left out, with a line that says why.
Replicas that are missing, empty or short are reported. A bad file does not stop the others. Run
again, the command skips what is in the store.
"""

from collections.abc import Sequence

from absl import flags

from tempo_jax.cli import command, prepare_flags, worker_flags
from tempo_jax.errors import InputError
from tempo_jax.preparation.mdcath import domain_file, mdcath, source_index


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string(
    'raw_dir',
    None,
    'Folder that holds mdcath_dataset_*.h5, itself or in its folder data, and receives downloads. '
    'Required.',
    flag_values=values,
  )
  prepare_flags.define_store(values)
  flags.DEFINE_list(
    'temperatures',
    ['320'],
    'Temperatures, K, comma-separated, of 320, 348, 379, 413 and 450; or all that a file has: all. '
    'Default: 320, as in the paper.',
    flag_values=values,
  )
  flags.DEFINE_list(
    'replicas',
    ['0', '1', '2'],
    'Replicas, comma-separated, of 0 to 4; or all that a file has: all. Default: 0,1,2; the paper '
    'takes three without saying which.',
    flag_values=values,
  )
  prepare_flags.define_longer(values, 'domain', max_residues=240)
  flags.DEFINE_integer(
    'num_frames',
    400,
    'Take the first so many frames (1 ns apart) of each replica; shorter ones are kept, and '
    'reported. 0: no limit.',
    flag_values=values,
  )
  flags.DEFINE_bool(
    'extend_periodically',
    False,
    'Repeat shorter replicas from their first frame on up to --num_frames, as the paper does. Off '
    'by default: the jump from the last frame to the first is no dynamics, and repeated frames '
    'count twice in training and in every average.',
    flag_values=values,
  )
  flags.DEFINE_list(
    'domains',
    [],
    f'Lists of the domains to prepare, comma-separated: {prepare_flags.LIST_FORMAT} Default: every '
    'domain in --raw_dir, for training.',
    flag_values=values,
  )
  flags.DEFINE_enum(
    'preset',
    None,
    ['paper'],
    'paper: draw 1,000 domains for training, 50 for validation and 64 for testing from '
    'RAW_DIR/mdcath_source.h5, of those with at most --max_residues and with --num_frames in '
    'every replica asked for, and write them to RAW_DIR/mdcath_paper_seed<SEED>.csv. These differ '
    'from the lists of the paper, which are unpublished. Default: no draw.',
    flag_values=values,
  )
  flags.DEFINE_integer('seed', 0, 'Random seed of --preset.', flag_values=values)
  flags.DEFINE_string(
    'download',
    None,
    'A list of domains, as for --domains, to prepare, and to download where --raw_dir lacks them '
    '(0.2 to 1.6 GB each); or preset, for the domains that --preset draws. mdcath_source.h5 (186 '
    'MB) comes first, and tells which domains have nothing that is asked for: they are not '
    f'downloaded. Licence: see the dataset card, {source_index.CARD}. Default: no download.',
    flag_values=values,
  )
  prepare_flags.define_mirror(values, source_index.URL)
  prepare_flags.define_overwrite(values)
  worker_flags.define_flags(values)


def main(values: flags.FlagValues) -> int:
  """From the flags to `prepare`."""
  command.require(values, 'raw_dir', 'store')
  selection = domain_file.Selection(
    temperatures=_numbers('temperatures', values.temperatures),
    replicas=_numbers('replicas', values.replicas),
    max_residues=values.max_residues,
    skip_longer=values.longer == 'skip',
    num_frames=values.num_frames,
    extend_periodically=values.extend_periodically,
  )
  return mdcath.prepare(
    values.raw_dir,
    values.store,
    selection,
    domains=values.domains,
    preset=values.preset,
    seed=values.seed,
    download=values.download,
    mirror=values.mirror,
    overwrite=values.overwrite,
    num_workers=values.num_workers,
    scheduler=values.scheduler,
  )


def _numbers(flag: str, texts: Sequence[str]) -> tuple[int, ...] | None:
  if [text.strip() for text in texts] == ['all']:
    return None
  try:
    return tuple(sorted({int(text) for text in texts}))
  except ValueError:
    raise InputError(f'--{flag}={",".join(texts)}: give numbers with commas, or all') from None
