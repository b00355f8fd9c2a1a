r"""Prepares chains of the ATLAS dataset for training.

    tempo-jax prepare atlas --raw_dir=atlas --store=stores/atlas \
        --download=mdgen_atlas_train.csv,mdgen_atlas_val.csv --stride_ns=0.4

ATLAS (https://www.dsimb.inserm.fr/ATLAS; Vander Meersche et al., Nucleic Acids Res. 2024, 52, D384)
holds 3 x 100 ns at 300 K of 1,390 protein chains. Its licence is CC-BY-NC 4.0: no commercial use,
and credit is due.

--raw_dir may hold the zips NAME_protein.zip (a frame every 10 ps) and NAME_analysis.zip (every
100 ps), the folders unpacked from them, or loose files. A zip is not unpacked as a whole: one
trajectory at a time goes to the folder for temporary files (TMPDIR), and is removed unless the
process is killed. Of several copies of a chain, the command reads the coarsest whose time step
divides --stride_ns, or else the finest; among equal time steps the most complete, and unpacked
files rather than zips. Time steps come from the files, whatever these are called.

Every frame is checked for broken molecules, and stored as it is, the first one included: ATLAS has
superposed them. A bad file does not stop the others. Run again, the command skips what is in the
store, without unpacking it.
"""

from absl import flags

from tempo_jax.cli import command, prepare_flags, worker_flags
from tempo_jax.errors import InputError
from tempo_jax.preparation.atlas import archive as atlas_archive
from tempo_jax.preparation.atlas import atlas


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string(
    'raw_dir',
    None,
    'Folder that holds zips of ATLAS, folders unpacked from them, or loose files, at most four '
    'folders deep, and receives downloads. Required.',
    flag_values=values,
  )
  prepare_flags.define_store(values)
  flags.DEFINE_float(
    'stride_ns',
    None,
    'Time between stored frames, ns: a multiple of the time step of the files (0.01 in protein '
    'archives, 0.1 in analysis archives; MDGen takes 0.4). Default: every frame.',
    flag_values=values,
  )
  flags.DEFINE_list(
    'names',
    [],
    f'Lists of the chains to prepare, comma-separated: {prepare_flags.LIST_FORMAT} A column seqres '
    'is compared with the sequence. MDGen and AlphaFlow publish such lists. Default: every chain '
    'in --raw_dir, for training.',
    flag_values=values,
  )
  flags.DEFINE_list(
    'download',
    [],
    'Lists of chains, as for --names, to prepare, and to download where --raw_dir has them in no '
    'form. Default: no download.',
    flag_values=values,
  )
  prepare_flags.define_mirror(values, atlas_archive.BASE_URL)
  flags.DEFINE_enum(
    'archive',
    None,
    list(atlas_archive.KINDS),
    'Which archive to download and read: protein (10,001 frames 0.01 ns apart) or analysis (1,001 '
    'frames 0.1 ns apart, the smaller download). Default: to download, analysis if --stride_ns is '
    'a multiple of 0.1 ns, otherwise protein; to read, the coarsest whose time step divides '
    '--stride_ns, otherwise the finest.',
    flag_values=values,
  )
  flags.DEFINE_list(
    'replicas', ['1', '2', '3'], 'Replicas, comma-separated. Default: 1,2,3.', flag_values=values
  )
  prepare_flags.define_longer(values, 'chain', max_residues=0)
  prepare_flags.define_overwrite(values)
  worker_flags.define_flags(values)


def main(values: flags.FlagValues) -> int:
  """From the flags to `prepare`."""
  command.require(values, 'raw_dir', 'store')
  try:
    replicas = tuple(sorted({int(replica) for replica in values.replicas}))
  except ValueError:
    raise InputError(f'--replicas={",".join(values.replicas)}: give numbers, as 1,2,3') from None
  settings = atlas.Settings(
    store=values.store,
    stride_ns=values.stride_ns,
    archive=values.archive,
    replicas=replicas,
    max_residues=values.max_residues,
    longer=values.longer,
    overwrite=values.overwrite,
  )
  return atlas.prepare(
    values.raw_dir,
    settings,
    names=values.names,
    download_names=values.download,
    mirror=values.mirror,
    num_workers=values.num_workers,
    scheduler=values.scheduler,
  )
