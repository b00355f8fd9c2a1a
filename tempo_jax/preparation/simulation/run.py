"""One replica of a simulation: frames, checkpoints, and how it goes on after an interruption.

    NAME_R1.partial.xtc     frames so far; NAME_R1.xtc once the replica is finished
    NAME_R1.checkpoint.gz   the state of OpenMM, and how many bytes of frames belong to it
    NAME_R1.json            metadata

Frames reach the file only together with a checkpoint; what a killed process wrote after its last
one is cut off. The checkpoint stays, so that a finished replica can be made longer.

Needs the extra `simulate`: openmm and pdbfixer.
"""

import contextlib
import dataclasses
import os
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import mdtraj
import numpy as np
import openmm
import tqdm

from tempo_jax import progress
from tempo_jax.errors import InputError
from tempo_jax.preparation.simulation import checkpoint as simulation_checkpoint
from tempo_jax.preparation.simulation import stereochemistry, stopping
from tempo_jax.preparation.simulation import system as simulation_system
from tempo_jax.preparation.simulation.checkpoint import Checkpoint
from tempo_jax.preparation.simulation.system import Simulated

_STEPS_AT_ONCE = 100  # between looks at the clock
# What random numbers are for.
_VELOCITIES, _THERMOSTAT = 1, 2
_MAX_HEAT = 3.0  # times the kinetic energy of equilibrium: beyond, the simulation has blown up


@dataclasses.dataclass(frozen=True)
class Replica:
  """What to do in one replica.

  Attributes:
    number: counted from 1.
    stem: path of its files without extension, OUT/NAME_R1.
    start: where its first conformation goes, OUT/NAME.pdb or OUT/NAME_R2_start.pdb.
    temperature_K: K.
    num_equilibration_steps: before the first frame counts.
    frame_steps: steps from frame to frame.
    num_frames: to end with, at least.
    seed: all its random numbers follow from it and `number`.
    platform: see `simulation_system.open_context`; so too the next.
    num_threads: on the CPU platform.
    checkpoint_s: wall time from checkpoint to checkpoint, s.
    metadata: what else its JSON file is to hold.
  """

  number: int
  stem: pathlib.Path
  start: pathlib.Path
  temperature_K: float
  num_equilibration_steps: int
  frame_steps: int
  num_frames: int
  seed: int
  platform: str
  num_threads: int | None
  checkpoint_s: float
  metadata: dict[str, Any]

  def file(self, suffix: str) -> pathlib.Path:
    """OUT/NAME_R1 + suffix."""
    return self.stem.with_name(self.stem.name + suffix)

  @property
  def frame_ps(self) -> float:
    """Time from frame to frame, ps."""
    return round(self.frame_steps * simulation_system.TIME_STEP_PS, 6)

  @property
  def last_step(self) -> int:
    """That of the last frame; production begins at step 0."""
    return self.num_frames * self.frame_steps

  def ns(self, step: int) -> float:
    """Time of a step, ns; equilibration ends at 0."""
    return round(step * simulation_system.TIME_STEP_PS / 1000.0, 9)


def derive_seed(*numbers: int) -> int:
  """A seed for OpenMM, above zero, that differs with every one of the numbers."""
  words = np.random.SeedSequence([number % 2**32 for number in numbers]).generate_state(1)
  return int(words[0]) % (2**31 - 1) + 1


def is_finished(replica: Replica) -> bool:
  """Whether as much as asked for, or more, is there."""
  metadata = simulation_checkpoint.read_json(replica.file('.json'))
  finished = metadata.get('finished') is True and replica.file('.xtc').exists()
  return finished and metadata['n_frames'] >= replica.num_frames


def run(replica: Replica, simulated: Simulated) -> dict[str, Any]:
  """Simulates, or goes on, until all frames are there.

  Returns:
    The content of its JSON file.

  Raises:
    InputError: the simulation blew up, or its files are damaged.
    stopping.StoppedError: the process got SIGINT or SIGTERM; what there is was saved.
  """
  partial, final = replica.file('.partial.xtc'), replica.file('.xtc')
  where = replica.file('.checkpoint.gz')
  checkpoint = simulation_checkpoint.load(where)
  if checkpoint is None and final.exists():
    raise InputError(
      f'{where} is missing, without which the replica cannot be made longer: bring it back, or '
      'begin anew with --overwrite'
    )
  if checkpoint is None:
    checkpoint = Checkpoint(step=-replica.num_equilibration_steps)
    metadata = _metadata(replica, checkpoint, finished=False)
    simulation_checkpoint.write_json(replica.file('.json'), metadata)
  simulation_checkpoint.restore_frames(partial, final, checkpoint)
  if checkpoint.step < replica.last_step:
    _Stretch(replica, simulated, checkpoint).run()
  os.replace(partial, final)
  metadata = _metadata(replica, checkpoint, finished=True)
  simulation_checkpoint.write_json(replica.file('.json'), metadata)
  return metadata


def _metadata(replica: Replica, checkpoint: Checkpoint, finished: bool) -> dict[str, Any]:
  num_frames = max(checkpoint.step, 0) // replica.frame_steps
  wall_s = sum(stretch['wall_s'] for stretch in checkpoint.stretches)
  ns = sum(stretch['to_ns'] - stretch['from_ns'] for stretch in checkpoint.stretches)
  return replica.metadata | {
    'replica': replica.number,
    'velocity_seed': derive_seed(replica.seed, replica.number, _VELOCITIES),
    'n_frames': num_frames,
    'first_frame_time_ps': replica.frame_ps,
    'length_ns': replica.ns(num_frames * replica.frame_steps),
    'checks': checkpoint.checks,
    'stretches': checkpoint.stretches,
    'wall_s': round(wall_s, 1),
    'ns_per_day': round(86400.0 * ns / max(wall_s, 1e-3), 2),
    'finished': finished,
  }


def image_shifts(centers: np.ndarray, before: np.ndarray, box: np.ndarray) -> np.ndarray:
  """What brings chains back to where they were.

  OpenMM keeps molecules whole, but its barostat puts each of them into the box.

  Args:
    centers: [K, 3] nm.
    before: [K, 3] nm, a little earlier.
    box: [3, 3] nm, rows are the box vectors.

  Returns:
    [K, 3] nm, whole box vectors: the first chain stays near its place, the others near theirs as
    seen from the first.
  """
  moved = centers - before
  moved[1:] -= moved[0]
  images = np.round(moved @ np.linalg.inv(box))
  images[1:] += images[0]
  return -images @ box


class _Stretch:
  """One run of the program: from a checkpoint to the end, or to an interruption."""

  def __init__(self, replica: Replica, simulated: Simulated, checkpoint: Checkpoint):
    self._replica = replica
    self._simulated = simulated
    self._checkpoint = checkpoint
    self._step = checkpoint.step
    # A state has no random numbers: with one seed every stretch would repeat their sequence.
    seed = derive_seed(replica.seed, replica.number, _THERMOSTAT, checkpoint.step)
    self._context = simulation_system.open_context(
      simulated,
      replica.temperature_K,
      seed,
      platform=replica.platform,
      num_threads=replica.num_threads,
    )
    if checkpoint.state:
      self._context.setState(openmm.XmlSerializer.deserialize(checkpoint.state))
    else:
      velocity_seed = derive_seed(replica.seed, replica.number, _VELOCITIES)
      self._context.setVelocitiesToTemperature(replica.temperature_K, velocity_seed)
    self._stereo = stereochemistry.Stereochemistry(simulated.topology)
    self._chains = [simulated.saved_chain == k for k in np.unique(simulated.saved_chain)]
    # Positions and boxes that are not yet in the file.
    self._frames: list[tuple[np.ndarray, np.ndarray | None]] = []
    self._about = simulation_system.describe_context(self._context) | {'thermostat_seed': seed}
    # Those of equilibration, or cut short before their first checkpoint, have no length.
    before = [about for about in checkpoint.stretches if about['to_ns'] > about['from_ns'] >= 0.0]
    checkpoint.stretches = [*before, self._about]
    self._start_clock()

  def run(self) -> None:
    replica = self._replica
    saved = time.monotonic()
    bar_format = '{desc}: {percentage:3.0f}%|{bar}| {n:.3f} of {total:.3f} ns{postfix}'
    total = replica.ns(replica.last_step)
    with (
      stopping.collected_signals() as signals,
      progress.Progress(desc=replica.stem.name, total=total, bar_format=bar_format) as shown,
    ):
      if self._step == 0 and not self._checkpoint.state:  # no equilibration
        self._start_production()
      while self._step < replica.last_step:
        self._advance()
        if self._step == 0:
          self._start_production()
        elif self._step > 0 and self._step % replica.frame_steps == 0:
          self._take_frame()
        self._stop_clock()
        _show(shown, replica, self._step, self._about)
        due = time.monotonic() - saved > replica.checkpoint_s
        if due or signals or self._step in (0, replica.last_step):
          self._save()
          saved = time.monotonic()
        if signals and self._step < replica.last_step:
          raise stopping.StoppedError(
            signals[0],
            f'stopped at {replica.ns(self._step):g} ns of replica {replica.number}: the same '
            'command again goes on from there',
          )

  def _start_clock(self) -> None:
    self._began = time.monotonic()
    self._about['from_ns'] = self._replica.ns(self._step)
    self._stop_clock()

  def _stop_clock(self) -> None:
    self._about['to_ns'] = self._replica.ns(self._step)
    self._about['wall_s'] = round(time.monotonic() - self._began, 3)

  def _advance(self) -> None:
    """Some steps, to the next frame at most."""
    period = self._replica.frame_steps
    ahead = -self._step if self._step < 0 else period - self._step % period
    steps = min(_STEPS_AT_ONCE, ahead)
    with self._explained():
      self._context.getIntegrator().step(steps)
    self._step += steps

  @contextlib.contextmanager
  def _explained(self) -> Iterator[None]:
    """OpenMM tells of atoms that flew apart by exceptions of its own."""
    try:
      yield
    except openmm.OpenMMException as error:
      raise self._blown_up(' '.join(str(error).split())[:150]) from error

  def _blown_up(self, reason: str) -> InputError:
    replica = self._replica
    return InputError(
      f'{replica.stem}: replica {replica.number} blew up at {replica.ns(self._step):g} ns '
      f'({reason}); {replica.file(".partial.xtc").name} keeps '
      f'{max(replica.ns(self._checkpoint.step), 0.0):g} ns: correct the structure, or lower '
      '--temperature_K, and begin anew with --overwrite'
    )

  def _state(self) -> openmm.State:
    with self._explained():
      state = self._context.getState(getPositions=True, getEnergy=True)
    potential, heat = self._simulated.energies(state)
    if not (np.isfinite(potential) and heat < _MAX_HEAT * self._replica.temperature_K):
      raise self._blown_up(f'its atoms move as at {heat:.3g} K, energy {potential:.3g} kJ/mol')
    return state

  def _start_production(self) -> None:
    state = self._state()
    positions, box = self._saved_atoms(state)
    simulation_system.write_pdb(self._replica.start, self._simulated.saved_topology, positions, box)
    self._check('start', state)
    self._start_clock()

  def _take_frame(self) -> None:
    state = self._state()
    self._frames.append(self._saved_atoms(state))
    if self._step == self._replica.last_step:
      self._check('end', state)

  def _check(self, when: str, state: openmm.State) -> None:
    positions = simulation_system.positions_of(state)
    found = self._stereo.problems(positions, self._simulated.positions)
    self._checkpoint.checks[when] = found
    for line in found:
      print(f'warning: {self._replica.stem.name}, {when}: {line}', file=sys.stderr)

  def _saved_atoms(self, state: openmm.State) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions [M, 3] and box [3, 3], nm."""
    positions = simulation_system.positions_of(state)[self._simulated.saved]
    if self._simulated.box is None:
      return positions, None
    box = simulation_system.box_of(state)
    before = self._checkpoint.centers
    if before is None:
      before = self._centers(self._simulated.positions[self._simulated.saved]).tolist()
    shifts = image_shifts(self._centers(positions), np.array(before), box)
    for chain, shift in zip(self._chains, shifts, strict=True):
      positions[chain] += shift
    self._checkpoint.centers = self._centers(positions).tolist()
    return positions, box

  def _centers(self, positions: np.ndarray) -> np.ndarray:
    return np.stack([positions[chain].mean(axis=0) for chain in self._chains])

  def _save(self) -> None:
    """First the frames, then the checkpoint that knows of them."""
    self._append_frames()
    state = self._context.getState(getPositions=True, getVelocities=True, getParameters=True)
    self._checkpoint.step = self._step
    self._checkpoint.state = openmm.XmlSerializer.serialize(state)
    simulation_checkpoint.save(self._replica.file('.checkpoint.gz'), self._checkpoint)

  def _append_frames(self) -> None:
    if not self._frames:
      return
    last = self._step // self._replica.frame_steps
    number = np.arange(last - len(self._frames) + 1, last + 1)
    positions, boxes = zip(*self._frames, strict=True)
    # XTC files may simply be joined, and mdtraj cannot append.
    aside = self._replica.file('.frames.xtc')
    with mdtraj.formats.XTCTrajectoryFile(str(aside), 'w') as file:
      file.write(
        np.array(positions, np.float32),
        time=(self._replica.frame_ps * number).astype(np.float32),
        step=number.astype(np.int32),
        box=None if self._simulated.box is None else np.array(boxes, np.float32),
      )
    with self._replica.file('.partial.xtc').open('ab') as file:
      file.write(aside.read_bytes())
      file.flush()
      os.fsync(file.fileno())
      self._checkpoint.num_bytes = file.tell()
    aside.unlink()
    self._frames.clear()


def _show(shown: progress.Progress, replica: Replica, step: int, stretch: dict[str, Any]) -> None:
  """Advances the bar to a step."""
  ns, total = replica.ns(step), replica.ns(replica.last_step)
  done, speed = stretch['to_ns'] - stretch['from_ns'], 'production begins'
  if ns < 0.0:
    speed = f'{-1000.0 * ns:.0f} ps of equilibration left'
  elif done > 0.0:
    left = tqdm.tqdm.format_interval(stretch['wall_s'] / done * (total - ns))
    speed = f'{86400.0 * done / max(stretch["wall_s"], 1e-3):.3g} ns/day, {left} left'
  line = f'{replica.stem.name}: {max(ns, 0.0):.3f} of {total:.3f} ns, {speed}'
  shown.update(max(ns, 0.0) - shown.bar.n, line, postfix=speed)
