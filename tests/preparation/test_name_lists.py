import pytest

from tempo_jax.errors import InputError
from tempo_jax.preparation import name_lists
from tempo_jax.preparation.name_lists import NameRow


@pytest.fixture
def listing(tmp_path):
  def write(name, text):
    (tmp_path / name).write_text(text)
    return tmp_path / name

  return write


def test_one_name_a_line(listing):
  file = listing('domains.txt', '# ours\n1abcA00\n\n2defB01  # long\n')
  assert name_lists.read([file]) == {n: NameRow(n) for n in ('1abcA00', '2defB01')}


def test_split_from_the_name_of_the_file(listing):
  files = [
    listing('mdgen_atlas_train.csv', 'name,seqres,msa_id\n1abc_A,ACD,x\n'),
    listing('mdgen_atlas_val.csv', 'name,seqres\n2abc_A,EFG\n'),
    listing('TEST-names.txt', '3abc_A\n'),
    listing('restrained.txt', '4abc_A\n'),
  ]
  assert list(name_lists.read(files).values()) == [
    NameRow('1abc_A', 'train', 'ACD'),
    NameRow('2abc_A', 'validation', 'EFG'),
    NameRow('3abc_A', 'test'),
    NameRow('4abc_A', None),
  ]


def test_split_column_wins(listing):
  file = listing('paper_train.csv', '\ufeffDomain,Split\nx,val\ny,\n')
  assert [row.split for row in name_lists.read([file]).values()] == ['validation', 'train']


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('', 'no names in it'),
    ('# nothing\n', 'no names in it'),
    ('a,b\n1,2\n', 'without a column "name": its columns are a, b'),
    ('name,split\nx,tset\n', "x: no such split 'tset'"),
    ('name,split\nx,test\nx,train\n', 'x is in two splits, test and train'),
    ('two words\n', "'two words' is no name"),
  ],
)
def test_mistakes(listing, text, message):
  with pytest.raises(InputError, match=f'list.txt: .*{message}'):
    name_lists.read([listing('list.txt', text)])


def test_unreadable(tmp_path):
  with pytest.raises(InputError, match=r'nothing.txt: cannot be read .*No such file'):
    name_lists.read([tmp_path / 'nothing.txt'])
  (tmp_path / 'binary.txt').write_bytes(b'\xff\xfe\x00')
  with pytest.raises(InputError, match=r'binary.txt: cannot be read .*not text'):
    name_lists.read([tmp_path / 'binary.txt'])


def test_published_lists(shared_data):
  splits = shared_data / 'splits'
  rows = name_lists.read([splits / f'mdgen_atlas_{s}.csv' for s in ('train', 'val', 'test')])
  counts = [sum(r.split == s for r in rows.values()) for s in ('train', 'validation', 'test')]
  assert counts == [1266, 39, 82]
  assert all(set(row.sequence) <= set('ACDEFGHIKLMNPQRSTVWYX') for row in rows.values())
  assert len(name_lists.read([splits / 'mdcath_domains.txt'])) == 5398
