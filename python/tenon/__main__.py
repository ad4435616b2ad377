"""python -m tenon: the command `tenon`."""
from ._cli import main

main()
