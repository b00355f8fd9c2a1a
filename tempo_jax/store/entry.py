"""What a store knows of one trajectory, and how that is written down."""

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tempo_jax.errors import InputError
from tempo_jax.geometry.bonds import Bonds
from tempo_jax.protein.protein import SOLVENTS, Protein, ProteinArrays

FORMAT = 'tempo_jax trajectory store'
VERSION = 2
SPLITS = ('train', 'validation', 'test')

_RESIDUE_DTYPES: dict[str, type[np.generic]] = {
  'residue_type': np.int32,
  'residue_index': np.int32,
  'chain_index': np.int32,
  'bonded': np.bool_,
  'residue_number': np.int32,
}
OPTIONAL: dict[str, np.generic] = {
  'ring': np.int32(-1),
  'disulphides': np.int32(-1),
  'mirrored': np.False_,
}
"""Fields [L], and what they hold where there is nothing; None where it is nowhere."""
# Shared by all replicas of a protein; the manifest holds them once.
_PROTEIN_FIELDS = ('sequence', *_RESIDUE_DTYPES, 'insertion_code', 'chain_ids')


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
  """One trajectory of a store.

  Attributes:
    name: the protein's name; part of the key, so letters, digits and `_ . + -` only.
    temperature_K: temperature of the simulation, K.
    replica: its number.
    dt_ns: time between two frames, ns.
    sources: checksums by name of what it was made from, and the settings that shaped it.
    sequence: one letter per residue.
    residue_type: [L] int32, see `ProteinArrays`; so too the next three.
    residue_index: [L] int32.
    chain_index: [L] int32.
    bonded: [L] bool.
    residue_number: [L] int32, the author's.
    insertion_code: [L] str.
    chain_ids: one str per chain.
    split: 'train', 'validation' or 'test'.
    ring: [L] int32, see `ProteinArrays`; None where no chain is a ring.
    disulphides: [L] int32, see `ProteinArrays`; None where there are none.
    mirrored: [L] bool, see `ProteinArrays`; None where there are none.
    solvent: of the simulation, one of `protein.SOLVENTS`.
    notes: what preparation did to the frames, e.g. how many it cut.
    num_frames: F; set by the store.
    array: the ID of the frames, set by the store: of the positions, and, behind a dash, of the
      side chains where the store keeps them.
  """

  name: str
  temperature_K: float
  replica: int
  dt_ns: float
  sources: Mapping[str, str]
  sequence: str
  residue_type: np.ndarray
  residue_index: np.ndarray
  chain_index: np.ndarray
  bonded: np.ndarray
  residue_number: np.ndarray
  insertion_code: tuple[str, ...]
  chain_ids: tuple[str, ...]
  split: str = 'train'
  ring: np.ndarray | None = None
  disulphides: np.ndarray | None = None
  mirrored: np.ndarray | None = None
  solvent: str = 'unknown'
  notes: tuple[str, ...] = ()
  num_frames: int = 0
  array: str = ''

  @classmethod
  def of(
    cls,
    protein: Protein,
    *,
    temperature_K: float,
    replica: int,
    dt_ns: float,
    sources: Mapping[str, str],
    split: str = 'train',
    solvent: str = 'unknown',
    notes: Iterable[str] = (),
  ) -> 'Entry':
    """An entry, still without positions, of `protein`; the arguments are the attributes."""
    arrays = protein.arrays
    return cls(
      name=protein.name,
      temperature_K=float(temperature_K),
      replica=int(replica),
      dt_ns=float(dt_ns),
      sources=dict(sources),
      sequence=protein.sequence,
      residue_type=np.asarray(arrays.residue_type, np.int32),
      residue_index=np.asarray(arrays.residue_index, np.int32),
      chain_index=np.asarray(arrays.chain_index, np.int32),
      bonded=np.asarray(arrays.bonded, np.bool_),
      residue_number=np.asarray(protein.residue_number, np.int32),
      insertion_code=tuple(protein.insertion_code),
      chain_ids=tuple(protein.chain_ids),
      split=split,
      ring=arrays.ring,
      disulphides=arrays.disulphides,
      mirrored=arrays.mirrored,
      solvent=solvent,
      notes=tuple(notes),
    )

  @property
  def key(self) -> str:
    """NAME/T<temperature>/R<replica>: unique in a store, and a relative path."""
    return f'{self.name}/T{self.temperature_K:g}/R{self.replica}'

  @property
  def length(self) -> int:
    """Number of residues, L."""
    return len(self.residue_type)

  @property
  def path(self) -> str:
    """Where the positions are, relative to the store."""
    return f'entries/{self.key}/{self.array}/'

  @property
  def has_chi(self) -> bool:
    """Whether the store keeps torsions of side chains, too."""
    return len(self.content_ids) > 1

  @property
  def content_ids(self) -> tuple[str, ...]:
    """First digits of the SHA-256 of the positions and, where there are any, of chi."""
    return tuple(self.array.split('-'))

  @property
  def chi_path(self) -> str:
    """Where they are, relative to the store.

    Within the directory of the positions, so that both appear and go together, and versions that
    know of no side chains read and keep such an entry.
    """
    return f'{self.path}chi/'

  @property
  def bonds(self) -> Bonds:
    """All peptide bonds."""
    return self.arrays(np.zeros((self.length, 4, 3), np.float32)).bonds

  def arrays(self, positions: np.ndarray, chi: np.ndarray | None = None) -> ProteinArrays:
    """The model's view of one conformation.

    Args:
      positions: [L, 4, 3] Å.
      chi: [L, 4] rad, NaN where not known; None for a view without side chains.
    """
    arrays = ProteinArrays(
      residue_type=self.residue_type,
      residue_index=self.residue_index,
      chain_index=self.chain_index,
      bonded=self.bonded,
      mask=np.ones(self.length, np.bool_),
      positions=positions,
      ring=self.ring,
      disulphides=self.disulphides,
      mirrored=self.mirrored,
      solvent=np.int32(SOLVENTS.index(self.solvent)),
    )
    return arrays.with_chi(chi)


def dump(data: Mapping[str, Any]) -> bytes:
  """Compact JSON in UTF-8."""
  return json.dumps(data, separators=(',', ':'), ensure_ascii=False).encode()


def to_json(entry: Entry) -> dict[str, Any]:
  """The content of entry.json; the manifest's differs in where the protein stands."""
  data = {field.name: getattr(entry, field.name) for field in dataclasses.fields(entry)}
  data |= {name: data[name].tolist() for name in _RESIDUE_DTYPES}
  protein = {name: data.pop(name) for name in _PROTEIN_FIELDS}
  for name in OPTIONAL:
    field = data.pop(name)
    if field is not None:  # Stores without them are as they were.
      protein[name] = field.tolist()
  if data['solvent'] == SOLVENTS[0]:
    del data['solvent']
  return {'format': FORMAT, 'version': VERSION, 'proteins': [protein], 'entries': [data]}


def manifest(entries: Iterable[Entry]) -> dict[str, Any]:
  """The content of manifest.json."""
  proteins: dict[bytes, int] = {}
  merged: dict[str, Any] = {'format': FORMAT, 'version': VERSION, 'proteins': [], 'entries': []}
  for entry in entries:
    data = to_json(entry)
    (protein,) = data['proteins']
    index = proteins.setdefault(dump(protein), len(proteins))
    if index == len(merged['proteins']):
      merged['proteins'].append(protein)
    merged['entries'].append({**data['entries'][0], 'protein': index})
  return merged


def parse(content: bytes, where: str) -> tuple[Entry, ...]:
  """Entries of a manifest.json or an entry.json, which is a manifest of one.

  Raises:
    InputError: it is neither, or of a newer version.
  """
  try:
    data = _read(content, where)
    proteins = [_protein_fields(protein) for protein in data['proteins']]
    return tuple(
      # An entry.json holds one protein, to which its entry does not refer.
      Entry(**proteins[entry.pop('protein', 0)], **(entry | {'notes': tuple(entry['notes'])}))
      for entry in data['entries']
    )
  except (LookupError, TypeError, AttributeError, json.JSONDecodeError, UnicodeError) as error:
    raise InputError(
      f'{where} is damaged, or not of a tempo_jax store ({type(error).__name__}: {error}): copy '
      'the store again, or delete it and prepare it again'
    ) from error


def refuse_newer(content: bytes, where: str) -> None:
  """Raises `InputError` for a manifest.json of a newer version; a damaged one may pass."""
  with contextlib.suppress(LookupError, TypeError, json.JSONDecodeError, UnicodeError):
    _read(content, where)


def _read(content: bytes, where: str) -> dict[str, Any]:
  """The JSON of a manifest.json or an entry.json, if its version is ours or an earlier one."""
  data = json.loads(content)
  if data['format'] != FORMAT:
    raise KeyError('format')
  if data['version'] > VERSION:
    raise InputError(
      f'{where}: a store of format version {data["version"]}, and this tempo_jax reads up to '
      f'{VERSION}: update tempo_jax'
    )
  return data


def _protein_fields(data: Mapping[str, Any]) -> dict[str, Any]:
  arrays = {name: np.array(data[name], dtype) for name, dtype in _RESIDUE_DTYPES.items()}
  texts = {name: tuple(data[name]) for name in ('insertion_code', 'chain_ids')}
  arrays |= {name: np.array(data[name], x.dtype) for name, x in OPTIONAL.items() if name in data}
  return {'sequence': data['sequence'], **arrays, **texts}


def difference(current: Entry, entry: Entry) -> str:
  """The fields in which two entries of one key differ.

  Not asked: what the store sets, what preparation found out, and the split, which may have been
  assigned since.
  """
  if SOLVENTS[0] in (current.solvent, entry.solvent):  # Stores of before did not ask.
    entry = dataclasses.replace(entry, solvent=current.solvent)
  old, new = (to_json(e) for e in (current, entry))
  pairs = [(old['entries'][0], new['entries'][0]), (old['proteins'][0], new['proteins'][0])]
  return ', '.join(
    name
    for before, after in pairs
    for name in after
    # What was read from JSON has lists where a new entry has tuples.
    if name not in ('split', 'notes', 'num_frames', 'array')
    and dump({'': before.get(name)}) != dump({'': after[name]})
  )
