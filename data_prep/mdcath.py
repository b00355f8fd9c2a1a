"""`python -m data_prep.mdcath`, see `tempo_jax.preparation.mdcath.mdcath`."""

from tempo_jax.preparation.mdcath import mdcath

if __name__ == '__main__':
  mdcath.launch()
