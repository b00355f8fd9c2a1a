"""`python -m data_prep.split`, see `tempo_jax.preparation.splitting.split`."""

from tempo_jax.preparation.splitting import split

if __name__ == '__main__':
  split.launch()
