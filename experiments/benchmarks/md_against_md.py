r"""MD against itself: the numbers that no model should be asked to beat.

    python -m experiments.benchmarks.md_against_md --data=DATA --out=tempo_out/md_against_md

First half against second half of four simulations, and one replica of CLN025 against the other,
each by `experiments.evaluate`, in one suite.
"""

import json
import pathlib
from collections.abc import Sequence

import mdtraj
from absl import flags

from tempo_jax import errors
from tempo_jax.cli import evaluate
from tempo_jax.errors import InputError
from tempo_jax.evaluation import suite
from tempo_jax.evaluation.scores import Settings

# Name, topology and trajectory; CLN025's replicas are files of their own.
_HALVES = (
  ('Trp-cage', 'trajectories/trpcage_tc5b_1ns/1l2y_md_protein.pdb', '1l2y_md.xtc'),
  ('BPTI', 'trajectories/bpti_5ns/bpti.pdb', 'bpti.xtc'),
  ('ubiquitin', 'trajectories/ubiquitin_1ns/ubq.pdb', 'ubq_1ns.xtc'),
  ('pentalanine', 'trajectories/pentalanine_50ns/pentalanine.pdb', 'pentalanine.xtc'),
)
_REPLICAS = 'openmm_implicit/cln025/cln025.pdb', 'cln025_R2.xtc', 'cln025_R1.xtc'


def write_suite(data: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
  """Cuts trajectories in halves; returns the file of the suite."""
  out.mkdir(parents=True, exist_ok=True)
  items: list[dict[str, object]] = []
  for name, topology, file in _HALVES:
    native = (data / topology).resolve()
    frames = mdtraj.load(str(native.with_name(file)), top=str(native))
    middle = frames.n_frames // 2
    halves = {}
    for label, part in (('first', frames[:middle]), ('second', frames[middle : 2 * middle])):
      halves[label] = str((out / f'{name}_{label}.xtc').resolve())
      part.save_xtc(halves[label])
    items.append(
      {
        'name': name,
        'topology': str(native),
        'reference': [halves['second']],
        'prediction': [halves['first']],
      }
    )
  native = (data / _REPLICAS[0]).resolve()
  reference, prediction = (str(native.with_name(file)) for file in _REPLICAS[1:])
  items.append(
    {
      'name': 'CLN025',
      'topology': str(native),
      'reference': [reference],
      'prediction': [prediction],
      'temperature_K': 320.0,
    }
  )
  suite_file = out / 'suite.json'
  suite_file.write_text(json.dumps(items, indent=1))
  return suite_file


def define_flags() -> None:
  """Called by the binary only."""
  flags.DEFINE_string('data', '../shared/data', 'Directory with the simulations.')
  flags.DEFINE_string('out', 'tempo_out/md_against_md', 'Directory to write into.')


def main(argv: Sequence[str]) -> None:
  """Writes the suite and evaluates it."""
  del argv
  data, out = (pathlib.Path(value) for value in (flags.FLAGS.data, flags.FLAGS.out))
  if not data.is_dir():
    raise InputError(f'{data}: no such directory: correct --data')
  cases = suite.read_suite(write_suite(data, out))
  evaluate.evaluate(cases, out, Settings(), with_baselines=True, num_workers=1)


if __name__ == '__main__':
  define_flags()
  errors.run(main)
