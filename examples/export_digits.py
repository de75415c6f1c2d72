"""Write scikit-learn's handwritten digits as CSV: 64 pixel columns (0 to 16) and the digit they show.

    python examples/export_digits.py digits.csv

The 1,797 images are part of the scikit-learn package, so nothing is downloaded.
"""

import argparse
import csv
from pathlib import Path

from sklearn.datasets import load_digits


def main() -> None:
    """Write the file named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, help="the CSV file to write")
    path: Path = parser.parse_args().path

    digits = load_digits()
    height, width = digits.images.shape[1:]
    names = [f"pixel_{row}_{column}" for row in range(height) for column in range(width)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "digit"])
        for pixels, label in zip(digits.data.astype(int), digits.target, strict=True):
            writer.writerow([*pixels, label])
    print(f"{path}: {len(digits.target)} images of {height} x {width} pixels")


if __name__ == "__main__":
    main()
