"""CamSeq01: 101 consecutive frames of a drive through Cambridge, labels by colour.

Layout: one flat folder with 0016E5_07959.png, 0016E5_07959_L.png, ... and label_colors.txt, which gives each of CamVid's 32
classes a colour: `red green blue name` a line. They are put together to the 11 classes of CamVid.
Source: Fauqueur, Brostow, Cipolla, "Assisted video object labeling by joint tracking of regions and keypoints", 2007; the 11
classes of Sturgess et al. 2009.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.errors import DataError
from neuroseg.config.image_data import Order
from neuroseg.data.augment import VOID, Augment
from neuroseg.data.camvid import CLASS_NAMES, COLOURS
from neuroseg.data.labelled import LabelledPictures
from neuroseg.data.pictures import COLOUR, Bytes, Pair, Size, check_existence, listed_lines, picture_files, pixels
from neuroseg.data.shares import shared_out
from neuroseg.data.sources import Split

_LAYOUT = "the original layout: pictures NAME.png with NAME_L.png beside them, and label_colors.txt"
_COLOURS_FILE = "label_colors.txt"
_GROUPS: dict[str, tuple[str, ...]] = {
    "Sky": ("Sky",),
    "Building": ("Archway", "Bridge", "Building", "Tunnel", "Wall"),
    "Pole": ("Column_Pole", "TrafficCone"),
    "Road": ("LaneMkgsDriv", "LaneMkgsNonDriv", "Road"),
    "Pavement": ("ParkingBlock", "RoadShoulder", "Sidewalk"),
    "Tree": ("Tree", "VegetationMisc"),
    "SignSymbol": ("Misc_Text", "SignSymbol", "TrafficLight"),
    "Fence": ("Fence",),
    "Car": ("Car", "OtherMoving", "SUVPickupTruck", "Train", "Truck_Bus"),
    "Pedestrian": ("Animal", "CartLuggagePram", "Child", "Pedestrian"),
    "Bicyclist": ("Bicyclist", "MotorcycleScooter"),
}
_CLASS_OF = {name: CLASS_NAMES.index(group) for group, names in _GROUPS.items() for name in names} | {"Void": VOID}


class CamSeq(LabelledPictures):
    """CamSeq01; items and further arguments as in `LabelledPictures`.

    root    the folder
    split   train, val or test, cut from the frames in the order of their names
    val, test   frames in these splits; the others train
    order   consecutive or random, see `shared_out`; share_seed: of the random order
    """

    source = "CamSeq01"
    class_names = CLASS_NAMES
    colours = COLOURS
    mask_modes = COLOUR

    def __init__(
        self,
        root: str | Path,
        split: Split,
        *,
        val: int = 10,
        test: int = 20,
        order: Order = "consecutive",
        share_seed: int = 0,
        size: Size | None = None,
        label_size: Size | None = None,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        """Check the folder, its colours and every file of the split but for its pixels."""
        folder = Path(root)
        pairs = _all_pairs(folder)
        self._class_of = _read_colours(folder / _COLOURS_FILE)
        chosen = shared_out(len(pairs), val, test, order, share_seed, f"frames in '{folder}'")
        pairs = [pairs[i] for i in chosen.get(split, ())]
        check_existence(pairs)
        super().__init__(split, tuple(pairs), size=size, label_size=label_size, augment=augment, seed=seed)

    def _labels(self, pair: Pair) -> Bytes:
        return _decoded(pair.mask, _packed(pixels(pair.mask)), self._class_of)


def _all_pairs(folder: Path) -> list[Pair]:
    files = [path for path in picture_files(folder, f"CamSeq01 in {_LAYOUT}") if not path.stem.endswith("_L")]
    return [Pair(path, path.with_name(f"{path.stem}_L{path.suffix}"), f"'{path}'") for path in files]


def _read_colours(path: Path) -> dict[int, int]:
    """Packed colour -> class number or VOID."""
    found: dict[int, int] = {}
    for where, line in listed_lines(path, "CamSeq01", _LAYOUT, "a line 'red green blue name' for each class"):
        words = line.split()
        if len(words) != 4 or not all(word.isdigit() and int(word) < 256 for word in words[:3]):
            raise DataError(f"{where}: '{line}' is not 'red green blue name' with levels 0 to 255. Correct the line.")
        if words[3] not in _CLASS_OF:
            raise DataError(
                f"{where}: '{words[3]}' is none of CamVid's 32 classes ({', '.join(sorted(_CLASS_OF))}). Correct the line."
            )
        red, green, blue = map(int, words[:3])
        found[red << 16 | green << 8 | blue] = _CLASS_OF[words[3]]
    return found


def _packed(colours: Bytes) -> NDArray[np.int64]:
    """(H, W, 3) colours as one number each."""
    red, green, blue = np.moveaxis(colours.astype(np.int64), -1, 0)
    packed: NDArray[np.int64] = red << 16 | green << 8 | blue
    return packed


def _decoded(path: Path, packed: NDArray[np.int64], class_of: dict[int, int]) -> Bytes:
    """(H, W) class numbers and VOID of packed colours; DataError for a colour that the list does not have."""
    codes, index = np.unique(packed, return_inverse=True)
    unknown = [code for code in codes.tolist() if code not in class_of]
    if unknown:
        code = unknown[0]
        row, column = np.argwhere(packed == code)[0].tolist()
        raise DataError(
            f"the mask '{path}' holds colour {code >> 16} {code >> 8 & 255} {code & 255} at row {row}, column {column} "
            f"({len(unknown)} such colours); expected: those of {_COLOURS_FILE}. Use the labels as they come, without loss: "
            "no JPEG, and not resized."
        )
    table = np.array([class_of[code] for code in codes.tolist()], dtype=np.uint8)
    return table[index].reshape(packed.shape)
