"""`doorstep-edge`."""

import sys

from edge.app import main

if __name__ == "__main__":
    sys.exit(main())
