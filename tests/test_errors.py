from tempo_jax import errors


def test_first_few():
  assert errors.first_few(list('abc'), 3) == 'a, b, c'
  assert errors.first_few(list('abcde'), 3) == 'a, b, c and 2 more'
