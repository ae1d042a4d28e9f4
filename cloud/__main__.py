"""`doorstep-cloud`."""

import sys

from cloud.app import main

if __name__ == "__main__":
    sys.exit(main())
