r"""What does an evaluation cost?

    python -m experiments.benchmarks.evaluation --work_dir=DIR \
        --out=experiments/benchmarks/results/evaluation.json

A synthetic suite: proteins of 150 residues, 250 predicted frames and three reference replicas of
1,000 frames, evaluated by `experiments.evaluate` with and without baselines; and a single chain of
51 residues with 48 predicted frames against 3 x 100, for which AlphaFlow's script takes 16
CPU-seconds.
"""

import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
import threadpoolctl
from absl import flags

from tempo_jax import errors
from tempo_jax.errors import InputError
from tempo_jax.evaluation import columns, suite
from tempo_jax.evaluation.scores import Settings
from tempo_jax.output import provenance
from tempo_jax.protein import protein
from tempo_jax.trajectory import trajectory
from tests import peptides

_DT_NS = 0.1


def write_protein(
  folder: pathlib.Path,
  name: str,
  length: int,
  num_predicted: int,
  num_reference: int,
  num_replicas: int,
  seed: int,
) -> dict[str, object]:
  """Writes a helix that bends in slow modes and vibrates; returns its item of a suite."""
  rng = np.random.default_rng(seed)
  folder.mkdir(parents=True, exist_ok=True)
  native = peptides.helix(length)[:, :4]
  lines = peptides.peptide(['ALA'] * length) + 'END\n'
  (folder / f'{name}_all.pdb').write_text(lines)
  found = protein.load_protein(folder / f'{name}_all.pdb')
  trajectory.save_structure(folder / f'{name}.pdb', found)
  s = np.linspace(0.0, np.pi, length)
  modes = np.stack([np.cos(k * s)[:, None] * rng.normal(size=3) for k in range(1, 5)])
  files = {}
  frames = {
    'prediction': num_predicted,
    **{f'R{r + 1}': num_reference for r in range(num_replicas)},
  }
  for label, count in frames.items():
    amplitude = np.zeros((count, 4))
    for t in range(1, count):
      amplitude[t] = 0.95 * amplitude[t - 1] + 0.3 * rng.normal(size=4)
    slow = np.einsum('tk,klx->tlx', amplitude, modes)
    positions = native + slow[:, :, None] + rng.normal(scale=0.1, size=(count, length, 4, 3))
    moved = trajectory.Trajectory(positions[None].astype(np.float32), found, _DT_NS)
    moved.save(folder / f'{name}_{label}.xtc', overwrite=True)
    files[label] = f'{name}_{label}.xtc'
  return {
    'name': name,
    'topology': f'{name}.pdb',
    'reference': [file for label, file in files.items() if label != 'prediction'],
    'prediction': [files['prediction']],
  }


def evaluate(suite_file: pathlib.Path, out: pathlib.Path, *arguments: str) -> dict[str, float]:
  """Wall and CPU seconds, and peak memory of the largest process, of the binary."""
  shutil.rmtree(out, ignore_errors=True)
  before = resource.getrusage(resource.RUSAGE_CHILDREN)
  start = time.perf_counter()
  command = [sys.executable, '-m', 'experiments.evaluate', f'--suite={suite_file}', f'--out={out}']
  subprocess.run([*command, *arguments], check=True, stdout=subprocess.DEVNULL)
  after = resource.getrusage(resource.RUSAGE_CHILDREN)
  return {
    'wall_s': time.perf_counter() - start,
    'cpu_s': after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    'peak_rss_mib_of_a_process': after.ru_maxrss / 1024,
  }


def one_chain(folder: pathlib.Path) -> float:
  """CPU-seconds of the numbers of one small chain, files read, libraries imported; median of 5."""
  item = write_protein(folder, 'small', 51, 48, 100, 3, 0)
  (folder / 'small.json').write_text(json.dumps([item]))
  (case,) = suite.read_suite(folder / 'small.json')
  seconds = []
  with threadpoolctl.threadpool_limits(1):
    for _ in range(6):
      start = time.process_time()
      reference, prediction = columns.read(case)
      columns.columns(reference, prediction, Settings(), with_baselines=False)
      seconds.append(time.process_time() - start)
  return float(np.median(seconds[1:]))


def define_flags() -> None:
  """Called by the binary only."""
  flags.DEFINE_string('work_dir', None, 'Directory for the synthetic files. Required.')
  flags.DEFINE_string('out', None, 'JSON file to write. Required.')
  flags.DEFINE_integer('num_proteins', 82, 'Proteins of the suite.')
  flags.DEFINE_integer('num_workers', 2, 'Processes.')


def main(argv: Sequence[str]) -> None:
  """Runs everything."""
  del argv
  values = flags.FLAGS
  for flag in ('work_dir', 'out'):
    if not values[flag].value:
      raise InputError(f'--{flag} is missing: --help says what it takes')
  work = pathlib.Path(values.work_dir)
  small = one_chain(work / 'one')
  suite_file = work / 'suite' / 'suite.json'
  items = [
    write_protein(work / 'suite', f'p{i:03d}', 150, 250, 1000, 3, i)
    for i in range(values.num_proteins)
  ]
  suite_file.write_text(json.dumps(items))
  workers = f'--num_workers={values.num_workers}'
  result = {
    'one_chain_51_residues_48_frames_cpu_s': small,
    'alphaflow_cpu_s': 16.0,
    'suite': f'{values.num_proteins} proteins x (250 + 3 x 1,000 frames) x 150 residues',
    'num_workers': values.num_workers,
    'numbers': evaluate(suite_file, work / 'numbers', workers, '--nobaselines', '--noreport'),
    'numbers_baselines_and_report': evaluate(suite_file, work / 'report', workers),
    'cpus': os.cpu_count(),
    'versions': provenance.versions(),
  }
  out = pathlib.Path(values.out)
  out.parent.mkdir(parents=True, exist_ok=True)
  out.write_text(json.dumps(result, indent=2) + '\n')
  print(json.dumps(result, indent=2))


if __name__ == '__main__':
  define_flags()
  errors.run(main)
