"""Router of a local endpoint, as a program."""

import sys

from headrace.components.deploy.local.router.process import main

if __name__ == "__main__":
    sys.exit(main())
