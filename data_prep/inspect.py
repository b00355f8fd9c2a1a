"""`python -m data_prep.inspect`, see `tempo_jax.preparation.inspection.inspect`."""

from tempo_jax.preparation.inspection import inspect

if __name__ == '__main__':
  inspect.launch()
