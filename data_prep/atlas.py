"""`python -m data_prep.atlas`, see `tempo_jax.preparation.atlas.atlas`."""

from tempo_jax.preparation.atlas import atlas

if __name__ == '__main__':
  atlas.launch()
