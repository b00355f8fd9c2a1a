r"""Training data of our own: simulates the systems of `data_prep.training_systems`, in stretches.

    pip install -e '.[simulate]'
    python -m data_prep.default_training_data --out=runs/training_data --max_minutes=90

Each call does what is left to do and stops in time; the same command goes on. Several may work on
one --out at once. First all systems get short replicas, then longer ones. What is finished is
copied into data_prep/simulated, a folder for each system and temperature:

    NAME/NAME.pdb        heavy atoms at t = 0 of replica 1: topology of the XTCs
    NAME/NAME_R1.xtc     heavy atoms, every 10 ps;  NAME_R1.json  every parameter, seed and check
    NAME_350K/...        another temperature; the files are named in the same way

A start is built from the sequence, or cut out of the file that the table names, where --starts
has it; otherwise it is NAME/NAME.pdb of data_prep/simulated. So the repository alone is enough to
make more of what is there: with another --seed and --out, new replicas are numbered after those. A
system without a start is passed over, and named at the end.

    --list    what there is to do, and what is done
    --card    writes data_prep/simulated/README.md anew, from the files there
    --store=DIR    the files there as a store, for tempo_jax/configs/default_model.py; with
                   --public=DATA, MD of others too (data_prep/public_md.py), with
                   --leave_out=NAME,... without those
"""

import contextlib
import dataclasses
import fcntl
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from absl import flags

from data_prep import training_data_card, training_store, training_systems
from data_prep.training_systems import SYSTEMS, System
from tempo_jax import files
from tempo_jax.cli import command
from tempo_jax.errors import InputError
from tempo_jax.preparation.simulation import checkpoint as simulation_checkpoint
from tempo_jax.preparation.simulation import simulate

_SIMULATED = pathlib.Path(__file__).with_name('simulated')
_TEMPERATURE_K = 320.0
_GRACE_S = 120.0  # to write a checkpoint in
# Of one and the same simulation, shorter or longer.
_IDENTITY = ('source_sha256', 'seed', 'replica', 'temperature_K')


@dataclasses.dataclass(frozen=True)
class Goal:
  """A length that replicas of a system are to reach.

  Attributes:
    system: which.
    temperature_K: K.
    num_replicas: how many.
    length_ns: of each.
  """

  system: System
  temperature_K: float
  num_replicas: int
  length_ns: float

  @property
  def folder(self) -> str:
    """Name of the directory, NAME or NAME_350K."""
    at = '' if self.temperature_K == _TEMPERATURE_K else f'_{self.temperature_K:g}K'
    return self.system.name + at

  def is_finished(self, out: pathlib.Path) -> bool:
    """Whether all of it is in OUT."""
    return self.finished_ns(out) >= self.num_replicas * self.length_ns - 1e-6

  def finished_ns(self, out: pathlib.Path) -> float:
    """How much of it is in OUT, ns."""
    stem = out / self.folder / self.system.name
    records = (
      simulation_checkpoint.read_json(stem.with_name(f'{stem.name}_R{number}.json'))
      for number in range(1, self.num_replicas + 1)
    )
    return sum(min(r.get('length_ns', 0.0), self.length_ns) for r in records if r.get('finished'))


def goals(systems: Sequence[System] = SYSTEMS) -> list[Goal]:
  """All goals, the most important first: every system, then temperatures, then length."""
  passes: list[list[Goal]] = []
  num_passes = max(system.first_pass + len(system.lengths_ns) for system in systems)
  for k in range(num_passes):
    lengths = [(s, s.lengths_ns[k - s.first_pass :][:1]) for s in systems if k >= s.first_pass]
    lengths.sort(key=lambda pair: pair[0].first_pass != k)  # those that have nothing yet
    passes.append(
      [
        Goal(system, _TEMPERATURE_K, system.num_replicas, length_ns)
        for system, at_most_one in lengths
        for length_ns in at_most_one
        if not system.committed
      ]
    )
  others = [
    Goal(system, temperature_K, 1, system.temperature_length_ns)
    for system in systems
    for temperature_K in system.temperatures_K
  ]
  passes.insert(1, others)
  return [goal for one in passes for goal in one]


def work(
  out: pathlib.Path,
  *,
  starts: Sequence[str] = (),
  simulated: pathlib.Path = _SIMULATED,
  only: Sequence[str] = (),
  seed: int = 0,
  max_minutes: float = 90.0,
  num_threads: int = 1,
) -> bool:
  """Does what is left to do, until the time is over.

  Args:
    out: directory for the simulations, with all that they need to go on.
    starts: directories with the files of the table.
    simulated: where finished replicas are copied to.
    only: names of systems; all if empty.
    seed: of the simulations.
    max_minutes: then it stops; what there is stays.
    num_threads: of each simulation.

  Returns:
    Whether all is done.

  Raises:
    InputError: a name is not in the table, or, at the end, some failed or had no start.
  """
  deadline = time.monotonic() + 60.0 * max_minutes
  waiting = _wanted(only)
  failed: set[str] = set()
  while waiting:
    left = []
    for goal in waiting:
      if goal.folder in failed:
        continue
      with _alone(out / goal.folder) as alone:
        if not alone:
          left.append(goal)
          continue
        if not goal.is_finished(out):
          seconds = deadline - time.monotonic()
          try:
            done = _run(goal, out, starts, simulated, seed, seconds, num_threads)
          except InputError as error:  # No structure to start from.
            print(error, file=sys.stderr)
            done = False
          if not done:
            failed.add(goal.folder)  # the others need not wait for it
            continue
        publish(out / goal.folder, simulated / goal.folder)
        if not goal.is_finished(out):
          return False
    if left:  # others are at it; what they leave undone may be ours
      if time.monotonic() > deadline - 30.0:
        return False
      time.sleep(10.0)
    waiting = left
  if failed:
    raise InputError(f'not simulated, see above: {", ".join(sorted(failed))}')
  return True


def _wanted(only: Sequence[str]) -> list[Goal]:
  unknown = set(only) - {system.name for system in SYSTEMS}
  if unknown:
    raise InputError(
      f'--only={",".join(sorted(unknown))}: no such system: --list names all that there are'
    )
  return [goal for goal in goals() if not only or goal.system.name in only]


@contextlib.contextmanager
def _alone(folder: pathlib.Path) -> Iterator[bool]:
  """Whether no other process works in the folder; none begins to while this lasts."""
  folder.mkdir(parents=True, exist_ok=True)
  with (folder / '.lock').open('w') as file:
    # A simulation whose parent was killed still holds it.
    os.set_inheritable(file.fileno(), True)
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      yield False
    else:
      yield True


def _run(
  goal: Goal,
  out: pathlib.Path,
  starts: Sequence[str],
  simulated: pathlib.Path,
  seed: int,
  seconds: float,
  num_threads: int,
) -> bool:
  """Calls `data_prep.simulate`, and stops it when the time is over; False if it fails."""
  start = out / 'starts' / f'{goal.system.name}.pdb'
  if not start.exists():
    training_systems.write_start(goal.system, start, starts, simulated)
  command = [
    *(sys.executable, '-m', 'data_prep.simulate'),
    f'--structure={start}',
    f'--out={out / goal.folder}',
    f'--length_ns={goal.length_ns:g}',
    f'--num_replicas={goal.num_replicas}',
    f'--temperature_K={goal.temperature_K:g}',
    f'--seed={seed}',
    *('--platform=CPU', f'--num_threads={num_threads}'),
  ]
  print(shlex.join(command[1:]), flush=True)
  if seconds < _GRACE_S:
    return True
  process = subprocess.Popen(command, cwd=pathlib.Path(__file__).parents[1], close_fds=False)
  try:
    code = process.wait(seconds - _GRACE_S)
  except subprocess.TimeoutExpired:
    process.terminate()
    process.wait()
    return True
  except BaseException:
    process.terminate()
    process.wait()
    raise
  return code == 0


def publish(source: pathlib.Path, target: pathlib.Path) -> list[pathlib.Path]:
  """Copies finished replicas that the target lacks, or has shorter.

  A replica of another simulation is not replaced: the new one gets the next free number.

  Args:
    source: directory of a simulation.
    target: its directory in data_prep/simulated.

  Returns:
    The trajectories written.
  """
  written = []
  for record in sorted(source.glob('*_R*.json')):
    ours = simulation_checkpoint.read_json(record)
    trajectory = record.with_suffix('.xtc')
    if not (ours.get('finished') and trajectory.exists()):
      continue
    name = ours['name']
    there = {
      int(path.stem.rpartition('_R')[2]): simulation_checkpoint.read_json(path)
      for path in target.glob(f'{name}_R*.json')
      if re.fullmatch(r'\d+', path.stem.rpartition('_R')[2])
    }
    same = [n for n, other in there.items() if all(other.get(k) == ours[k] for k in _IDENTITY)]
    number = same[0] if same else max(there, default=0) + 1
    if same and there[number]['n_frames'] >= ours['n_frames']:
      continue
    target.mkdir(parents=True, exist_ok=True)
    if not there and not (target / f'{name}.pdb').exists():
      files.copy(source / f'{name}.pdb', target / f'{name}.pdb')
    # A reader between the two finds more frames than the record tells of, never fewer.
    written.append(target / f'{name}_R{number}.xtc')
    files.copy(trajectory, written[-1])
    files.copy(record, written[-1].with_suffix('.json'))
  return written


def list_goals(out: pathlib.Path | None, only: Sequence[str] = ()) -> str:
  """One line per goal: what there is to do, and how much of it is done."""
  lines = [f'{"folder":<20}{"residues":>9}{"K":>6}{"replicas":>10}{"ns":>7}{"done":>8}']
  for goal in _wanted(only):
    done = goal.finished_ns(out) if out else 0.0
    lines.append(
      f'{goal.folder:<20}{goal.system.num_residues:>9}{goal.temperature_K:>6g}'
      f'{goal.num_replicas:>10}{goal.num_replicas * goal.length_ns:>7.2f}{done:>8.2f}'
    )
  return '\n'.join(lines)


def main(values: flags.FlagValues) -> None:
  """From the flags to `work`."""
  out = pathlib.Path(values.out).expanduser().resolve() if values.out else None
  simulated = pathlib.Path(values.simulated).expanduser()
  if values.public and not values.store:
    raise InputError('--public goes into a store: give --store=DIR, too')
  if values.leave_out and not values.store:
    raise InputError('--leave_out applies to --store only: give that, too')
  if values.list:
    print(list_goals(out, values.only))
  if values.card:
    training_data_card.write(simulated)
  if values.store:
    public = pathlib.Path(values.public).expanduser() if values.public else None
    store = pathlib.Path(values.store).expanduser()
    training_store.build(simulated, store, public, values.leave_out)
  if values.list or values.card or values.store:
    return
  if out is None:
    raise InputError('--out is missing: give a directory for the simulations')
  simulate.require_openmm()
  signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
  done = work(
    out,
    starts=values.starts,
    simulated=simulated,
    only=values.only,
    seed=values.seed,
    max_minutes=values.max_minutes,
    num_threads=values.num_threads,
  )
  print('all is done' if done else 'the time is over: the same command goes on')


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string(
    'out',
    None,
    'Directory for the simulations, where unfinished ones continue. Required to simulate.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'simulated', str(_SIMULATED), 'Where finished replicas are copied to.', flag_values=values
  )
  flags.DEFINE_list(
    'starts',
    [],
    'Directories with the structure files that the table names.',
    flag_values=values,
  )
  flags.DEFINE_list('only', [], 'Names of systems. Default: all.', flag_values=values)
  flags.DEFINE_float(
    'max_minutes', 90.0, 'Time for this call.', lower_bound=0.0, flag_values=values
  )
  flags.DEFINE_integer(
    'num_threads', 1, 'Threads of each simulation.', lower_bound=1, flag_values=values
  )
  flags.DEFINE_integer(
    'seed', 0, 'Random seed of all simulations.', lower_bound=0, flag_values=values
  )
  flags.DEFINE_bool(
    'list', False, 'Show what there is to do and what is done, and end.', flag_values=values
  )
  flags.DEFINE_bool('card', False, 'Write the data card anew, and end.', flag_values=values)
  flags.DEFINE_string(
    'store', None, 'Directory: write all replicas into this store, and end.', flag_values=values
  )
  flags.DEFINE_string(
    'public',
    None,
    'Directory with MD of others (data_prep/public_md.py): into the --store, too.',
    flag_values=values,
  )
  flags.DEFINE_list(
    'leave_out',
    [],
    'Systems that do not go into the --store, kept for testing; name relatives, too.',
    flag_values=values,
  )


if __name__ == '__main__':
  command.launch(sys.modules[__name__])
