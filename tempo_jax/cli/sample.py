"""Samples trajectories of one structure or several.

    tempo-jax sample FILE [FILE ...]

Without arguments it samples the bundled structure with the bundled model. Writes into --out:
topology.pdb (the start, t = 0, as the model sees it), trajectory.xtc (one per replica,
trajectory_rK.xtc, where there are several), frames.csv (validity, RMSD and radius of gyration
per frame), metadata.json and, with --report, report.html. Several structures get a folder each.

Frames are written while the next ones are computed: memory hardly grows with them. A run that is
stopped keeps its finished trajectories in a hidden folder beside --out, and the same command goes
on from there; --replica_batch_size says how many are computed at a time.

Several processes, on one machine or many that share the folder of --out, share the trajectories
out: start the same command in each, with --coordinator_address, --num_processes and --process_id.
"""

import contextlib
import hashlib
import importlib
import pathlib
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import flags

import tempo_jax
from tempo_jax import config as config_lib
from tempo_jax.cli import (
  compilation_cache_flag,
  execution,
  multiprocess,
  run_record,
  sampling_flags,
)
from tempo_jax.compilation import executables, interruption
from tempo_jax.models import model as model_lib
from tempo_jax.output import provenance, staging, trajectory_files, unfinished
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import structure_file
from tempo_jax.samplers.stream import Job

_BUNDLED_STRUCTURE = pathlib.Path(tempo_jax.__file__).parent / 'models/default/trp_cage.pdb'
PLAIN_ARGUMENTS = 'structure'
# Those that frames depend on, besides structures, model and device.
_OF_FRAMES = (
  'num_frames',
  'num_replicas',
  'dt_ns',
  'chains',
  'temperature_K',
  'solvent',
  'seed',
  'format',
)
_FLAGS = (
  *('structure', 'model', *_OF_FRAMES, 'out', 'atoms', 'report', 'overwrite'),
  *('segment_batch_size', 'replica_batch_size', 'passes', 'precision'),
)


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string(
    'structure',
    str(_BUNDLED_STRUCTURE),
    'PDB or mmCIF file, may be gzipped; model 1 of it is the start. Several, with commas between '
    'them, are sampled together, each into a folder of its own in --out. Default: the bundled one.',
    flag_values=values,
  )
  flags.DEFINE_list(
    'chains',
    [],
    'Chain ids to sample of each structure, e.g. A,B. Default: every protein chain.',
    flag_values=values,
  )
  flags.DEFINE_integer(
    'num_frames',
    400,
    'Frames per replica, --dt_ns apart.',
    lower_bound=1,
    flag_values=values,
  )
  flags.DEFINE_integer(
    'num_replicas',
    1,
    'Independent trajectories of each structure.',
    lower_bound=1,
    flag_values=values,
  )
  flags.DEFINE_enum(
    'solvent',
    'explicit',
    protein_lib.SOLVENTS,
    'What surrounds the protein: water molecules, a continuum (in which residues move a little '
    'more from frame to frame), or either.',
    flag_values=values,
  )
  flags.DEFINE_integer(
    'replica_batch_size',
    None,
    'Trajectories that are computed together on a device, from beginning to end; the others come '
    'after them. Lower it to save memory, or for a stopped run to keep more. Default: all.',
    lower_bound=1,
    flag_values=values,
  )
  sampling_flags.define_step_flag(values)
  sampling_flags.define_flags(values)
  multiprocess.define_flags(values)


def sample(values: flags.FlagValues) -> pathlib.Path:
  """Does what the flags say.

  Returns:
    The output directory.

  Raises:
    InputError: something that the user gave is wrong; at most finished trajectories are kept then.
  """
  started = time.monotonic()
  with contextlib.ExitStack() as stack:
    with multiprocess.together():
      sampling_flags.check_flags(values)
      sources = _sources(values.structure)
      proteins = [
        structure_file.load_protein(source, values.chains or None).in_solvent(values.solvent)
        for source in sources
      ]
      model = sampling_flags.load_model(values, values.dt_ns)
      atoms = model.atoms(values.atoms)
      names = _names(proteins) if len(proteins) > 1 else ['']
      out = pathlib.Path(values.out or _default_out(proteins))
      work = None
      if multiprocess.is_first():
        work = stack.enter_context(
          unfinished.output_directory(
            out,
            _made_for(values, model, atoms, sources, proteins),
            len(names) * values.num_replicas,
            values.overwrite,
            [name for name in names if name],
          )
        )
    result = multiprocess.path_of_first(work.result if work else None)
    partial = multiprocess.path_of_first(work.partial if work else None)
    with multiprocess.together():
      if multiprocess.is_first():
        _describe(values, model, atoms, sources, proteins)
      outlines = {
        name: trajectory_files.Outline(
          trajectory_files.idealised(protein),
          values.num_replicas,
          values.num_frames,
          model.dt_ns,
          model.dt_ns,
          values.format,
          atoms,
        )
        for name, protein in zip(names, proteins, strict=True)
      }
      if multiprocess.is_first():
        for name, outline in outlines.items():
          for folder in (result / name, partial / name):
            folder.mkdir(exist_ok=True)
          trajectory_files.write_topology(result / name, outline)
    done = _done(result, outlines)
    if work:
      _say_what_was_there(work, len(done), len(proteins) * values.num_replicas)
    with multiprocess.together():
      seconds = _stream(values, model, atoms, proteins, outlines, result, partial, done)
    with multiprocess.together():
      if multiprocess.is_first():
        settings = {name: values[name].value for name in _FLAGS}
        for i, (name, outline) in enumerate(outlines.items()):
          frames = trajectory_files.join_frames(result / name, outline, keep_numbers=True)
          if name:
            print(f'{name}: ', end='')
          run_record.complete(
            *(result / name, outline, frames, model, seconds, settings, started),
            taken_over=sum(job.protein == i for job in done),
          )
        if len(outlines) > 1:
          metadata = {
            staging.FOLDERS: dict(zip(names, sources, strict=True)),
            'versions': provenance.versions(),
            'flags': settings,
          }
          run_record.write_metadata(result, metadata)
      stack.close()
      if multiprocess.is_first():
        for name, outline in outlines.items():
          trajectory_files.remove_numbers(out.expanduser() / name, outline)
  if multiprocess.is_first():
    print(f'written to {out}')
  return out


def _sources(structure: str) -> list[str]:
  """The files of --structure; the name of a single one may have commas in it."""
  if pathlib.Path(structure).is_file():
    return [structure]
  return [source for source in structure.split(',') if source] or [structure]


def _names(proteins: Sequence[protein_lib.Protein]) -> list[str]:
  """Of their folders: the names of the proteins, with a number where one recurs."""
  names: list[str] = []
  taken = {protein.name for protein in proteins}
  for protein in proteins:
    name, number = protein.name, 1
    while name in names or (number > 1 and name in taken):
      number += 1
      name = f'{protein.name}_{number}'
    names.append(name)
  return names


def _default_out(proteins: Sequence[protein_lib.Protein]) -> str:
  more = f'_and_{len(proteins) - 1}_more' if len(proteins) > 1 else ''
  return f'tempo_out/{proteins[0].name}{more}'


def _made_for(
  values: flags.FlagValues,
  model: model_lib.Model,
  atoms: str,
  sources: Sequence[str],
  proteins: Sequence[protein_lib.Protein],
) -> dict[str, Any]:
  """All that frames depend on; batches change them by no more than rounding."""
  device = provenance.device()
  return {
    'flags': {name: values[name].value for name in _OF_FRAMES},
    'atoms': atoms,
    'structures': [
      [protein.name, hashlib.sha256(pathlib.Path(source).read_bytes()).hexdigest()]
      for protein, source in zip(proteins, sources, strict=True)
    ],
    'model': config_lib.to_dict(model.config),
    'model_sha256': provenance.model_sha256(model),
    'versions': provenance.versions(),
    'source': executables.source(),
    'device': [device['platform'], device['kind']],
  }


def _done(result: pathlib.Path, outlines: Mapping[str, trajectory_files.Outline]) -> set[Job]:
  """The trajectories that an earlier run had finished, as process 0 finds them."""
  jobs = [Job(i, k) for i, x in enumerate(outlines.values()) for k in range(x.num_replicas)]
  found = {
    Job(i, k)
    for i, (name, outline) in enumerate(outlines.items())
    for k in trajectory_files.finished(result / name, outline)
  }
  there = multiprocess.of_first(np.array([job in found for job in jobs], np.uint8))
  return {job for job, is_there in zip(jobs, there, strict=True) if is_there}


def _say_what_was_there(work: unfinished.Work, done: int, num_trajectories: int) -> None:
  if done:
    print(f'{done} of {num_trajectories} trajectories are there already: going on')
  if work.replaced:
    what = f'what a stopped run of other settings had kept (trajectories: {work.replaced})'
    print(f'replaced {what}')


def _describe(
  values: flags.FlagValues,
  model: model_lib.Model,
  atoms: str,
  sources: Sequence[str],
  proteins: Sequence[protein_lib.Protein],
) -> None:
  for source, protein in zip(sources, proteins, strict=True):
    run_record.describe(model, protein, source, values.temperature_K, atoms, values.num_frames)
  print(
    f'{values.num_replicas} x {values.num_frames} frames, {model.dt_ns:g} ns apart: '
    f'{values.num_frames * model.dt_ns:g} ns each, at {values.temperature_K:g} K'
  )


def _stream(
  values: flags.FlagValues,
  model: model_lib.Model,
  atoms: str,
  proteins: Sequence[protein_lib.Protein],
  outlines: Mapping[str, trajectory_files.Outline],
  result: pathlib.Path,
  partial: pathlib.Path,
  done: Collection[Job],
) -> execution.Seconds:
  """Computes this process's share of the trajectories, and writes each block while the next is
  computed.

  Args:
    values: the flags.
    model: to sample with.
    atoms: of each frame.
    proteins: to sample.
    outlines: of each of them, by the name of its folder.
    result: those folders are there, in which a trajectory appears when it is complete.
    partial: others of the same names, to write into until then.
    done: trajectories that are there already.
  """
  # Those that cost alike are neighbours, and so shared out evenly.
  order = sorted(range(len(proteins)), key=lambda i: -proteins[i].num_residues)
  jobs = multiprocess.share([Job(i, k) for i in order for k in range(values.num_replicas)])
  missing = sum(job not in done for job in jobs)
  _allow_open_files(len(jobs) + 256)
  places = list(outlines.items())
  files: dict[Job, trajectory_files.ReplicaFile] = {}
  speaks = multiprocess.is_first()
  started = time.monotonic()
  progress: execution.ProgressBar | None = None
  batch_flags = '--replica_batch_size or --segment_batch_size'
  with execution.memory_errors(batch_flags), interruption.leaving():
    blocks = model.stream(
      proteins,
      values.num_frames,
      values.num_replicas,
      jax.random.key(values.seed),
      values.temperature_K,
      values.segment_batch_size,
      values.replica_batch_size,
      jobs,
      done=done,
      atoms=atoms,
    )
    compiling = execution.Compiling() if speaks and missing else None
    try:
      for job, block, first in blocks:
        if compiling and progress is None:
          compiling.stop()
          print(f'compiled in {blocks.compile_seconds:.1f} s; sampling ...', flush=True)
          progress = execution.ProgressBar(missing * values.num_frames)
        # The check of the frames needs it: most of a second, better spent while they are computed.
        importlib.import_module('scipy.spatial')
        positions = execution.on_host(block)
        run_record.check_finite(model, positions, first, values.num_frames)
        if job not in files:
          name, outline = places[job.protein]
          files[job] = trajectory_files.ReplicaFile(
            result / name, outline, job.replica, partial / name
          )
        files[job].append(positions)
        if first + len(positions) == values.num_frames:
          files.pop(job).close()
        if progress:
          progress.add(len(positions))
    finally:
      if compiling:
        compiling.stop()
      for file in files.values():
        file.abandon()
      if progress:
        progress.close()
  seconds = execution.Seconds(
    blocks.compile_seconds, time.monotonic() - started - blocks.compile_seconds
  )
  if speaks:
    print(f'sampled in {seconds.sampling:.1f} s', flush=True)
  return seconds


def _allow_open_files(count: int) -> None:
  """Each trajectory has an open file: raises the limit, often 1,024, if need be and allowed."""
  with contextlib.suppress(ImportError, ValueError, OSError):
    import resource  # Unix only

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
      resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def main(values: flags.FlagValues) -> None:
  """From the flags to `sample`."""
  compilation_cache_flag.use(values)
  multiprocess.join(values)
  sample(values)
