"""The cases of `calibrated_dynamics`: which MD, which levels, what is sampled, and what counts."""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping

import mdtraj

from experiments.ablation.rollouts import Sampling
from tempo_jax.errors import InputError
from tempo_jax.preparation import trajectories

FINE = {'fine': 0.01}
TWO_LEVELS = {'coarse': 0.2, 'fine': 0.01}
THREE_LEVELS = {'coarse': 0.2, 'middle': 0.04, 'fine': 0.01}
_HALF = (0.5, 1.0)


@dataclasses.dataclass(frozen=True)
class Row:
  """A number of the table.

  Attributes:
    number: what it is called.
    key: of `calibration.Calibration`, or of the facts that `ablation.run` adds.
    goal: what it should be: least, greatest; None: no limit.
    floors: the goal is at most so many times the floor's number.
    run: which of the case's runs it is read from.
    than: run to be no worse than, where the goal is another run of ours; its sign says what is
      worse: +1 a greater number, -1 a smaller one, 0 one that is farther from 1.
    paper: the setting of the column of the paper.
    ours: the setting of our column.
  """

  number: str
  key: str
  goal: tuple[float | None, float | None] = (None, None)
  floors: float | None = None
  run: str = ''
  than: tuple[str, str, int] | None = None
  paper: str = 'paper'
  ours: str = 'ours'


@dataclasses.dataclass(frozen=True)
class Case:
  """One line of the issue's table, or several of the same models.

  Attributes:
    prepare: (data, simulated, store) -> None, fills a store; what is there already is skipped.
    data: name of that store.
    models: name of the folder of trained models; cases of one name share them.
    levels: name and time step (ns) per level, of each kind of our settings: '' for `ours` and
      `paper`, 'three' for `ours_three` and so on.
    steps: of training, unless a flag says otherwise.
    runs: what is sampled, by name.
    rows: what is read off.
    train_block: stretch of trajectories that training sees, fractions.
    reversible: whether the MD is in equilibrium, so that time may run backwards.
    timing: whether samplers are timed, in the first run.
  """

  prepare: Callable[[pathlib.Path, pathlib.Path | None, pathlib.Path], None]
  data: str
  models: str
  levels: Mapping[str, Mapping[str, float]]
  steps: int
  runs: Mapping[str, Sampling]
  rows: tuple[Row, ...]
  train_block: tuple[float, float] = (0.0, 1.0)
  reversible: bool = True
  timing: bool = False


def _add(topology, files, store, name, temperature_K, *, replica=1, split='train', dt_ns=None):
  """Adds trajectories to a store, quietly where they are there already."""
  for file in (topology, *files):
    if not pathlib.Path(file).is_file():
      raise InputError(f'{file}: no such file: correct --data or --simulated')
  with contextlib.redirect_stdout(None):
    trajectories.prepare(
      topology,
      files,
      store,
      name=name,
      temperature_K=temperature_K,
      replica=replica,
      split=split,
      dt_ns=dt_ns,
      num_workers=1,
    )


def _openmm(data: pathlib.Path, name: str) -> pathlib.Path:
  return data / 'openmm_implicit' / name


def cln025_350K(data, simulated, store) -> None:  # noqa: N802  (K is kelvin)
  """CLN025 at 350 K, 4,153 frames of 2 ps."""
  folder = _openmm(data, 'cln025_350K')
  _add(folder / 'cln025_350K.pdb', [folder / 'cln025_350K_R1.xtc'], store, 'cln025', 350.0)


def cln025_320K(data, simulated, store) -> None:  # noqa: N802  (K is kelvin)
  """CLN025 at 320 K: R1 held out; of R2 the frames 0 to 731, before it unfolds."""
  folder = _openmm(data, 'cln025')
  topology = folder / 'cln025.pdb'
  _add(topology, [folder / 'cln025_R1.xtc'], store, 'cln025', 320.0, split='test')
  folded = store.parent / 'cln025_R2_folded.xtc'
  if not folded.exists():
    store.parent.mkdir(parents=True, exist_ok=True)
    frames = mdtraj.load(str(folder / 'cln025_R2.xtc'), top=str(topology))
    aside = folded.with_name(f'partial_{folded.name}')
    frames[:732].save_xtc(str(aside))
    aside.replace(folded)
  _add(topology, [folded], store, 'cln025', 320.0, replica=2)


def pentalanine(data, simulated, store) -> None:
  """Pentalanine, 5,000 frames of 10 ps."""
  folder = data / 'trajectories/pentalanine_50ns'
  _add(folder / 'pentalanine.pdb', [folder / 'pentalanine.xtc'], store, 'pentalanine', 300.0)


def bpti(data, simulated, store) -> None:
  """BPTI, 500 frames of 10 ps."""
  folder = data / 'trajectories/bpti_5ns'
  _add(folder / 'bpti.pdb', [folder / 'bpti.xtc'], store, 'bpti', 300.0)


def trpcage(data, simulated, store) -> None:
  """Trp-cage: R1 (177 frames of 10 ps) to learn from, R2 (204) held out."""
  _two_replicas(_openmm(data, '2jof'), '2jof', 'R1', 'R2', store)


def fs(data, simulated, store) -> None:
  """The Fs peptide: R2 (281 frames of 10 ps) to learn from, R1 (116), which loses its helix."""
  _two_replicas(_openmm(data, 'fs_unf'), 'fs_unf', 'R2', 'R1', store)


def fs_folding(data, simulated, store) -> None:
  """The same with R1 to learn from, and R2 held out, whose helix grows."""
  _two_replicas(_openmm(data, 'fs_unf'), 'fs_unf', 'R1', 'R2', store)


def _two_replicas(folder, name, train, test, store) -> None:
  for replica, split in ((train, 'train'), (test, 'test')):
    files = [folder / f'{name}_{replica}.xtc']
    _add(folder / f'{name}.pdb', files, store, name, 320.0, replica=int(replica[1:]), split=split)


def temperatures(data, simulated, store) -> None:
  """CLN025 as data_prep.simulate wrote it at 300 and 400 K, to learn from, and 350 K, held out."""
  if simulated is None:
    raise InputError(
      'the case temperature needs --simulated=DIR with folders cln025_300K, cln025_350K and '
      'cln025_400K, each the --out of data_prep.simulate'
    )
  for temperature_K in (300, 350, 400):
    folder = simulated / f'cln025_{temperature_K}K'
    described = sorted(folder.glob('*_R[0-9]*.json'))
    if not described:
      raise InputError(f'{folder}: no NAME_R1.json of data_prep.simulate here: correct --simulated')
    for number, file in enumerate(described, start=1):
      found = json.loads(file.read_text())
      if found.get('temperature_K') != temperature_K or not found.get('finished', True):
        raise InputError(
          f'{file}: a simulation at {found.get("temperature_K")} K that is '
          f'{"" if found.get("finished", True) else "not "}finished: put a finished one at '
          f'{temperature_K} K there'
        )
      stem = file.name.removesuffix('.json')
      topology = folder / f'{stem.rsplit("_R", 1)[0]}.pdb'
      split = 'test' if temperature_K == 350 else 'train'
      files = [folder / f'{stem}.xtc']
      _add(topology, files, store, 'cln025', temperature_K, replica=number, split=split)


_JSD = Row('JSD of CA distances', 'ca_jsd', floors=2.0)
_SPREAD = Row('spread of CA distances, predicted / MD', 'spread_ratio', (0.85, 1.15))
_STEP = Row('one-step displacement, predicted / MD', 'step_ratio', (0.9, 1.1))
_WHOLE = (
  Row('frames with CA-CA outside 2.8-4.2 Å (%)', 'outside_ca_ca', (None, 0.0)),
  Row('frames with C-N > 1.7 Å (%)', 'outside_c_n', (None, 0.0)),
  Row('CA-CA min (Å)', 'min_ca_ca'),
  Row('CA-CA max (Å)', 'max_ca_ca'),
  Row('C-N max (Å)', 'max_c_n'),
)
_SECONDS = (
  Row('s per 400 frames', 'seconds'),
  Row('ratio to the paper setting', 'seconds_ratio', (None, 2.0)),
)
_HIERARCHY = (
  Row('RMSF r per residue', 'rmsf_r', (0.8, None)),
  Row('jump reaching a segment end / inside', 'jump_reach', (0.8, 1.25)),
  Row('jump leaving a segment end / inside', 'jump_leave', (0.8, 1.25)),
  Row('RMSF, predicted / MD', 'rmsf_ratio'),
  _SPREAD,
  _STEP,
)


_HELIX = (
  Row('helix fraction, first tenth', 'helix_first'),
  Row('helix fraction, last tenth', 'helix_last'),
  Row('helix fraction over time', 'helix_text'),
)


def _half(**options) -> Sampling:
  return Sampling(**{'heldout_block': _HALF, 'heldout_split': 'train'} | options)


def _replica(**options) -> Sampling:
  return Sampling(**{'heldout_block': (0.0, 1.0), 'heldout_split': 'test'} | options)


# In the order of the table.
CASES = {
  'cln025_350K': Case(
    cln025_350K,
    'cln025_350K',
    'cln025_350K',
    {'': FINE},
    6000,
    {'': _half(frames=3000)},
    (_JSD, _SPREAD, _STEP, *_SECONDS),
    train_block=(0.0, 0.5),
    timing=True,
  ),
  'cln025_320K': Case(
    cln025_320K,
    'cln025_320K',
    'cln025_320K',
    {'': FINE},
    6000,
    {'': _replica(frames=3000)},
    (_JSD, _SPREAD, _STEP),
  ),
  'long': Case(
    cln025_350K,
    'cln025_350K',
    'cln025_350K',
    {'': FINE},
    6000,
    {'': _half(frames=10_000)},
    (*_WHOLE, _JSD, _SPREAD),
    train_block=(0.0, 0.5),
  ),
  'pentalanine': Case(
    pentalanine,
    'pentalanine',
    'pentalanine',
    {'': FINE},
    6000,
    {'': _half(frames=3000)},
    (
      Row('Ramachandran JSD', 'ramachandran_jsd', floors=2.0),
      Row('slowest TICA time scale, predicted / MD', 'tica_ratio', (0.5, 2.0)),
      _SPREAD,
      _STEP,
    ),
    train_block=(0.0, 0.5),
  ),
  'bpti': Case(
    bpti,
    'bpti',
    'bpti',
    {'': TWO_LEVELS},
    4000,
    {'': _half(frames=250, replicas=4)},
    (*_HIERARCHY, *_SECONDS),
    train_block=(0.0, 0.5),
    timing=True,
  ),
  'trpcage': Case(
    trpcage,
    'trpcage',
    'trpcage',
    {'': TWO_LEVELS},
    6000,
    {'': _replica(frames=200, replicas=4)},
    _HIERARCHY,
  ),
  'long_coarse': Case(
    trpcage,
    'trpcage',
    'trpcage',
    {'': TWO_LEVELS},
    6000,
    {'': _replica(how='coarse', frames=10_000)},
    _WHOLE,
  ),
  'single_scale': Case(
    bpti,
    'bpti',
    'bpti',
    {'': TWO_LEVELS},
    4000,
    {'hierarchy': _half(frames=400), 'fine only': _half(how='fine', frames=400)},
    (
      Row(
        'RMSD error (Å), hierarchy',
        'rmsd_error',
        run='hierarchy',
        than=('fine only', 'ours', 1),
      ),
      Row('RMSD error (Å), fine only', 'rmsd_error', run='fine only'),
      Row(
        'pairwise RMSD ratio, hierarchy',
        'pairwise_rmsd_ratio',
        run='hierarchy',
        than=('fine only', 'ours', 0),
      ),
      Row('pairwise RMSD ratio, fine only', 'pairwise_rmsd_ratio', run='fine only'),
    ),
    train_block=(0.0, 0.5),
  ),
  'upsample_bpti': Case(
    bpti,
    'bpti',
    'bpti',
    {'': TWO_LEVELS},
    4000,
    {'': _half(how='upsample')},
    (
      Row('RMSF r per residue', 'rmsf_r', (0.95, None)),
      Row('pairwise RMSD ratio', 'pairwise_rmsd_ratio', (0.9, 1.1)),
      Row('jump reaching a segment end / inside', 'jump_reach'),
      Row('jump leaving a segment end / inside', 'jump_leave'),
    ),
    train_block=(0.0, 0.5),
  ),
  'levels': Case(
    cln025_350K,
    'cln025_350K',
    'cln025_350K_levels',
    {'two': TWO_LEVELS, 'three': THREE_LEVELS},
    6000,
    {'': _half(frames=3000)},
    tuple(
      row
      for key, number, sign in (
        ('ca_jsd', 'JSD of CA distances', 1),
        ('spread_ratio', 'spread of CA distances, predicted / MD', 0),
        ('step_ratio', 'one-step displacement, predicted / MD', 0),
        ('rmsf_r', 'RMSF r per residue', -1),
      )
      for row in (
        Row(
          f'{number}, three levels',
          key,
          than=('', 'ours_two', sign),
          ours='ours_three',
          paper='paper_three',
        ),
        Row(f'{number}, two levels', key, ours='ours_two', paper='paper_two'),
      )
    ),
    train_block=(0.0, 0.5),
  ),
  'temperature': Case(
    temperatures,
    'cln025_temperatures',
    'cln025_temperatures',
    {'': FINE},
    6000,
    {'': _replica(frames=3000)},
    (_JSD, _SPREAD, _STEP),
  ),
  'fs': Case(
    fs,
    'fs_unf',
    'fs_unf',
    {'': FINE},
    6000,
    {'': _replica(frames=115, replicas=8, start='first')},
    _HELIX,
    reversible=False,
  ),
  'fs_folding': Case(
    fs_folding,
    'fs_unf_folding',
    'fs_unf_folding',
    {'': FINE},
    6000,
    {'': _replica(frames=280, replicas=8, start='first')},
    _HELIX,
    reversible=False,
  ),
}
