"""Checks that see a trajectory once, block by block, and keep a few numbers.

Each has `update`, called for one block of frames after the other, and `findings`, called at the
end. Sound frames are those whose bonds are within their limits: a broken molecule is reported as
that, and not as a jump, a clash and a twisted peptide bond too.
"""

import functools
from collections.abc import Callable, Iterator

import numpy as np

from tempo_jax.preparation import frame_checks
from tempo_jax.preparation.inspection import conformations
from tempo_jax.preparation.inspection.findings import Finding, Subject
from tempo_jax.protein import protein as protein_lib

Read = Callable[[slice | np.ndarray], np.ndarray]
"""Frames of the entry -> [F, L, 4, 3] float32 Å."""

HISTOGRAMS = {'CA-CA': (2.0, 5.0), 'C-N': (0.5, 3.0)}
"""Å: the range of the histogram of a bond; what is beyond counts in its first or last bin."""

NUM_BINS = 150

_MOST_LISTED = 5
_MIN_JUMP = 1.0  # Å, RMSD
_MIN_BOX_JUMP = 10.0  # Å

# Degrees. Heat twists peptide bonds by 6 to 9 (standard deviation at 300 to 450 K), never by 60.
_CIS = 60.0
_TWISTED = 120.0
# Shares of frames.
_MIRROR = 0.5
_RARE = 0.01
_LEAST_PHI = 3
_GLYCINE, _PROLINE, _UNKNOWN = map(protein_lib.RESIDUE_TYPES.index, ('GLY', 'PRO', 'UNK'))


class Bonds:
  """Lengths of bonds: are molecules whole?

  Attributes:
    ranges: bond -> least and greatest length, Å.
    histograms: bond of `HISTOGRAMS` -> [NUM_BINS] counts.
  """

  def __init__(self, subject: Subject):
    self._subject = subject
    self._frames = 0
    self._broken = 0
    self._first: frame_checks.Problem | None = None
    self.ranges: dict[str, tuple[float, float]] = {}
    self.histograms = {bond: np.zeros(NUM_BINS, np.int64) for bond in HISTOGRAMS}

  def update(self, start: int, positions: np.ndarray) -> np.ndarray:
    """Returns [F] bool: which frames are sound."""
    sound = np.ones(len(positions), bool)
    for bond, low, high, lengths, _ in frame_checks.bond_lengths(positions, self._subject.bonds):
      if not lengths.size:
        continue
      least, most = self.ranges.get(bond, (np.inf, -np.inf))
      self.ranges[bond] = min(least, float(lengths.min())), max(most, float(lengths.max()))
      sound &= ((lengths > low) & (lengths < high)).all(axis=1)
      if bond in HISTOGRAMS:
        inside = np.clip(lengths, *HISTOGRAMS[bond])
        self.histograms[bond] += np.histogram(inside, NUM_BINS, HISTOGRAMS[bond])[0]
    if self._first is None and not sound.all():
      self._first = frame_checks.first_problem(positions, self._subject.protein, start)
    self._broken += int(np.count_nonzero(~sound))
    self._frames += len(positions)
    return sound

  def findings(self) -> Iterator[Finding]:
    """Yields the first broken bond."""
    if self._first is not None:
      yield self._subject.finding(
        'error',
        'bonds',
        f'{self._first.message}; {self._broken} of {self._frames} frames have such bonds; then '
        'prepare it again with --overwrite',
      )


class Steps:
  """RMSD between successive frames: frozen frames, missing stretches, jumps over the box."""

  def __init__(self, subject: Subject):
    self._subject = subject
    self._steps = [np.zeros(0)]
    self._moves = [np.zeros(0)]
    # Of the frame before the next block.
    self._atoms = np.zeros((0, 3, 4 * subject.entry.length))
    self._centre = np.zeros((0, 3))
    self._sound = np.zeros(0, bool)

  def update(self, start: int, positions: np.ndarray, sound: np.ndarray) -> None:
    """Takes the next block."""
    atoms = np.concatenate([self._atoms, conformations.centred(positions)])
    centre = np.concatenate([self._centre, positions.mean(axis=(1, 2), dtype=np.float64)])
    sound = np.concatenate([self._sound, sound])
    known = sound[1:] & sound[:-1]
    steps = conformations.rmsd(atoms[:-1], atoms[1:])
    moves = np.linalg.norm(np.diff(centre, axis=0), axis=-1)
    nothing = [np.nan] if start == 0 else []
    self._steps.append(np.concatenate([nothing, np.where(known, steps, np.nan)]))
    self._moves.append(np.concatenate([nothing, np.where(known, moves, np.nan)]))
    self._atoms, self._centre, self._sound = atoms[-1:], centre[-1:], sound[-1:]

  @functools.cached_property
  def values(self) -> np.ndarray:
    """[F] Å, from the frame before to each; NaN at the first, and where one is not sound."""
    return np.concatenate(self._steps)

  def findings(self, read: Read) -> Iterator[Finding]:
    """Yields frozen frames, and jumps of the conformation and of the whole molecule."""
    steps, finding = self.values, self._subject.finding
    (frozen,) = np.nonzero(steps < conformations.SAME)
    if frozen.size:
      yield finding(
        'error' if frozen.size > 0.5 * len(steps) else 'warning',
        'frozen',
        f'{frozen.size} of {len(steps)} frames equal the frame before them, the first is frame '
        f'{frozen[0]}: leave repeated frames out, and prepare it again with --overwrite',
      )
    jumps = conformations.jumps(steps, _MIN_JUMP)
    more = f'; {len(jumps)} frames do so' if len(jumps) > 1 else ''
    for frame in jumps[:_MOST_LISTED].tolist():
      kind, reason = self._explain(read(np.array([frame - 1, frame])))
      yield finding(
        'warning',
        kind,
        f'frame {frame} is {steps[frame]:.1f} Å (RMSD) away from the frame before it, where '
        f'{np.nanmedian(steps):.1f} is typical{more}: {reason}',
      )
    moves = conformations.jumps(np.concatenate(self._moves), _MIN_BOX_JUMP)
    moves = np.setdiff1d(moves, jumps)
    if moves.size:
      yield finding(
        'note',
        'moved',
        f'the molecule as a whole jumps by over {_MIN_BOX_JUMP:g} Å in {moves.size} frames, first '
        f'in frame {moves[0]}: the periodic box, which does no harm, as training superposes its '
        'windows',
      )

  def _explain(self, two: np.ndarray) -> tuple[str, str]:
    """Kind and reason of a jump between two frames [2, L, 4, 3] Å."""
    part = conformations.parts(self._subject.bonded)
    atoms = [conformations.centred(two[:, part == k]) for k in range(part[-1] + 1)]
    if part[-1] and all(conformations.rmsd(x[:1], x[1:])[0] < _MIN_JUMP for x in atoms):
      (ends,) = np.nonzero(np.diff(part))
      return 'box', (
        f'its parts, which end after {self._subject.residues(ends)}, jump past each other over '
        'the periodic box: put them together (e.g. gmx trjconv -pbc cluster) and prepare it again '
        'with --overwrite'
      )
    return 'gap', (
      'frames are missing there, or two trajectories were joined: prepare the parts before and '
      'after as two replicas'
    )


class Repeats:
  """Frames that come again, not at once."""

  def __init__(self, subject: Subject):
    self._subject = subject
    self._fingerprints = [np.zeros(0, np.uint64)]

  def update(self, start: int, positions: np.ndarray, sound: np.ndarray) -> None:
    """Takes the next block."""
    del start, sound
    self._fingerprints.append(conformations.fingerprints(positions))

  @functools.cached_property
  def values(self) -> np.ndarray:
    """[F] uint64, see `conformations.fingerprints`."""
    return np.concatenate(self._fingerprints)

  def findings(self, read: Read, steps: np.ndarray) -> Iterator[Finding]:
    """Yields the first repeat, and the period.

    Args:
      read: the entry, to look at two frames again.
      steps: [F] Å, `Steps.values`.
    """
    order = np.argsort(self.values, kind='stable')
    again = self.values[order[1:]] == self.values[order[:-1]]
    # Within one frozen stretch nothing comes again; `Steps` reports it.
    stretch = np.cumsum(~(steps < conformations.SAME))
    again &= stretch[order[1:]] != stretch[order[:-1]]
    pairs = np.stack([order[:-1], order[1:]], axis=1)[again]
    pairs = pairs[np.argsort(pairs[:, 1])]
    for before, after in pairs[:_MOST_LISTED].tolist():
      atoms = conformations.centred(read(np.array([before, after])))
      if conformations.rmsd(atoms[:1], atoms[1:])[0] < conformations.SAME:
        break
    else:
      return
    lags, counts = np.unique(np.diff(pairs), return_counts=True)
    regular = len(pairs) > 1 and counts.max() > 0.9 * len(pairs)
    period = f', {lags[counts.argmax()]} frames later' if regular else ''
    known = any('repeated periodically' in note for note in self._subject.entry.notes)
    remedy = 'leave repeated frames out, and prepare it again with --overwrite'
    yield self._subject.finding(
      'note' if known else 'warning',
      'repeat',
      f'frame {after} is frame {before} once more; {len(pairs)} of {len(steps)} frames come '
      f'again{period}: {"as its preparation notes" if known else remedy}',
    )


class _Tally:
  """How often something is so at each residue, and in which frame first.

  Attributes:
    count: [L] number of frames.
    first: [L] frame.
  """

  def __init__(self, length: int):
    self.count = np.zeros(length, int)
    self.first = np.zeros(length, int)

  def update(self, frames: np.ndarray, so: np.ndarray) -> None:
    """Counts so [F, L] bool in frames [F], which may be none."""
    if not len(frames):
      return
    new = (self.count == 0) & so.any(axis=0)
    self.first[new] = frames[so[:, new].argmax(axis=0)]
    self.count += np.count_nonzero(so, axis=0)


class Torsions:
  """phi and omega: the hand of the molecule, and its peptide bonds."""

  def __init__(self, subject: Subject, num_samples: int):
    """Begins.

    Args:
      subject: the entry.
      num_samples: how many pairs of phi and psi to keep, about.
    """
    length = subject.entry.length
    self._subject = subject
    self._frames = 0
    self._positive, self._cis, self._twisted = (_Tally(length) for _ in range(3))
    self._every = -(-subject.entry.num_frames * length // num_samples)
    self._sample = [np.zeros((0, 2))]

  def update(self, start: int, positions: np.ndarray, sound: np.ndarray) -> None:
    """Takes the next block."""
    angles, mask = conformations.torsions(positions, self._subject.bonded)
    frames = start + np.arange(len(positions))
    chosen = angles[sound & (frames % self._every == 0)][:, mask[:, 0] & mask[:, 1], :2]
    self._sample.append(chosen.reshape(-1, 2))
    frames, phi, omega = frames[sound], angles[sound, :, 0], np.abs(angles[sound, :, 2])
    self._frames += len(frames)
    self._positive.update(frames, phi > 0.0)
    self._cis.update(frames, omega < _CIS)
    self._twisted.update(frames, (omega >= _CIS) & (omega <= _TWISTED))

  @property
  def sample(self) -> np.ndarray:
    """[n, 2] float32 degrees, phi and psi of evenly spaced frames."""
    return np.concatenate(self._sample).astype(np.float32)

  def findings(self) -> Iterator[Finding]:
    """Yields mirror images, possible D-residues, cis and twisted peptide bonds."""
    if self._frames:
      yield from self._hand()
      yield from self._peptides()

  def _hand(self) -> Iterator[Finding]:
    types = self._subject.entry.residue_type
    told = np.roll(self._subject.bonded, 1) & ~np.isin(types, (_GLYCINE, _UNKNOWN))
    positive = self._positive.count[told].sum() / max(1, self._frames * np.count_nonzero(told))
    if positive > _MIRROR and np.count_nonzero(told) >= _LEAST_PHI:
      yield self._subject.finding(
        'error',
        'mirror',
        f'phi is positive in {positive:.0%} of residues and frames (glycine apart), in proteins '
        'in some 5 %: a mirror image: look for a swapped or inverted axis in its raw file, and '
        'prepare it again with --overwrite',
      )
      return
    (always,) = np.nonzero(told & (self._positive.count == self._frames))
    if always.size:
      yield self._subject.finding(
        'note',
        'phi',
        f'phi of {self._subject.residues(always)} is positive in every frame: a D-residue, or a '
        'left-handed turn, which is not rare in Asn and Asp: compare with its structure',
      )

  def _peptides(self) -> Iterator[Finding]:
    proline = np.roll(self._subject.entry.residue_type, -1) == _PROLINE
    cis, twisted = self._cis, self._twisted
    native = proline & (cis.count > (1.0 - _RARE) * self._frames)
    if native.any():
      yield self._subject.finding(
        'note',
        'cis',
        f'cis peptide bond between {self._subject.peptides(np.flatnonzero(native))}, as before '
        'prolines in 1 of 20: compare with its structure',
      )
    if np.any(cis.count[~native]):
      yield self._peptide('warning', 'cis', 'cis', np.where(native, 0, cis.count), cis.first)
    if twisted.count.any():
      rare = twisted.count.max() <= _RARE * self._frames
      severity, what = 'note' if rare else 'warning', 'turned by 60 to 120°'
      yield self._peptide(severity, 'omega', what, twisted.count, twisted.first)

  def _peptide(
    self, severity: str, kind: str, what: str, count: np.ndarray, first: np.ndarray
  ) -> Finding:
    (wrong,) = np.nonzero(count)
    worst = int(count.argmax())
    return self._subject.finding(
      severity,
      kind,
      f'peptide bond {what} between {self._subject.peptides(wrong)}; that after '
      f'{self._subject.residue(worst)} is so in {count[worst]} of {self._frames} frames, first in '
      f'frame {first[worst]}: check the structure that the simulation began with',
    )


class Clashes:
  """Backbone atoms of different residues that nearly coincide."""

  def __init__(self, subject: Subject):
    self._subject = subject
    self._frames = 0
    self._first = ''

  def update(self, start: int, positions: np.ndarray, sound: np.ndarray) -> None:
    """Takes the next block."""
    frames = start + np.flatnonzero(sound)
    where, lengths = conformations.clashes(positions[sound], self._subject.bonded)
    if len(where) and not self._first:
      frame, a, b = where[0]
      self._first = (
        f'frame {frames[frame]}: backbone atoms of {self._subject.pair(a, b)} are '
        f'{lengths[0]:.2f} Å apart'
      )
    self._frames += len(np.unique(where[:, 0]))

  def findings(self) -> Iterator[Finding]:
    """Yields the first clash."""
    if self._first:
      yield self._subject.finding(
        'warning',
        'clash',
        f'{self._first}; {self._frames} frames have clashes: periodic images, or a bad start: '
        'leave these frames out, or simulate it again',
      )
