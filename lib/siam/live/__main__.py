"""python -m siam.live FOLDER: write what the book's live page loads."""

import argparse
import sys
from pathlib import Path

from siam.live import write


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m siam.live", description="Write what the book's live page loads.")
    parser.add_argument("folder", type=Path, help="where the scripts go")
    try:
        write(parser.parse_args(arguments).folder)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
