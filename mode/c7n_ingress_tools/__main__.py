"""`python -m c7n_ingress_tools` is `c7n-ingress`."""

import sys

from c7n_ingress_tools.cli import main

if __name__ == "__main__":
    sys.exit(main())
