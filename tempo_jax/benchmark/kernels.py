"""How large a compiled program is, and how many kernels one run of it starts, from its HLO.

Every instruction outside of a fusion counts as one kernel, except those that only rename data. The
body of a loop counts once per iteration.
"""

import collections
import dataclasses
import re

_COMPUTATION = re.compile(r'^(?:ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$')
_INSTRUCTION = re.compile(r'^\s+(?:ROOT )?%?[\w.\-]+ = (?:\(.*?\)|\S+) ([\w\-]+)\(')
_CALLED = re.compile(r'\b(body|condition|to_apply|calls)=%?([\w.\-]+)')
_BRANCHES = re.compile(r'branch_computations=\{([^}]*)\}')
_BRANCH = re.compile(r'\b(?:true|false)_computation=%?([\w.\-]+)')
_TURNS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_NO_KERNEL = frozenset(
  (
    *('parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'while', 'conditional'),
    *('call', 'after-all', 'opt-barrier', 'partition-id', 'replica-id', 'iota'),
  )
)


@dataclasses.dataclass(frozen=True)
class Size:
  """Of one compiled program.

  Attributes:
    lines: of its HLO.
    fusions: in it.
    kernels: started by one run; of a conditional, its largest branch.
  """

  lines: int
  fusions: int
  kernels: int


def size(hlo: str) -> Size:
  """Reads `compiled.as_text()`.

  Args:
    hlo: the text.

  Raises:
    ValueError: there is a loop whose number of turns the compiler does not know.
  """
  bodies: dict[str, list[tuple[str, str]]] = collections.defaultdict(list)
  name = entry = ''
  for line in hlo.splitlines():
    if started := _COMPUTATION.match(line):
      name = started[1]
      entry = name if line.startswith('ENTRY') else entry
    elif instruction := _INSTRUCTION.match(line):
      bodies[name].append((instruction[1], line))

  known: dict[str, int] = {}

  def kernels(computation: str) -> int:
    if computation not in known:
      known[computation] = sum(of(*instruction) for instruction in bodies[computation])
    return known[computation]

  def of(kind: str, line: str) -> int:
    called = dict(_CALLED.findall(line))
    if kind == 'while':
      turns = _TURNS.search(line)
      if turns is None:
        raise ValueError(f'a loop without a known number of turns: {line.strip()[:80]}')
      return int(turns[1]) * (kernels(called['body']) + kernels(called['condition']))
    if kind == 'conditional':
      branches = _BRANCHES.search(line)
      names = branches[1].split(', ') if branches else _BRANCH.findall(line)
      return max((kernels(branch.lstrip('%')) for branch in names), default=0)
    if kind == 'call':
      return kernels(called['to_apply'])
    return 0 if kind in _NO_KERNEL else 1

  fusions = sum(kind == 'fusion' for body in bodies.values() for kind, _ in body)
  return Size(hlo.count('\n') + 1, fusions, kernels(entry))
