"""The resource model beside the rows that Intel's compiler prints; the page shows what the command computes."""

import pytest
import yaml

from benchmarks.intel_rows import MARKS, PAGE, ROWS, compare, cuts, tables

NETWORKS = yaml.safe_load(ROWS.read_text(encoding="utf-8"))


@pytest.mark.parametrize("network", NETWORKS, ids=[n["network"] for n in NETWORKS])
def test_cores_and_every_figure_of_a_row_are_intels(network):
    placement, rows = compare(network)
    assert placement.fits
    assert [cut.cores for cut in placement.cuts.values()] == [row["cores"] for row in network["rows"]]
    for row in rows:
        for column, (intel, ours) in row.items():
            assert ours is None or ours == pytest.approx(intel, abs=0.0101 if column == "pool" else 1e-9)


def test_words_of_the_trained_pilotnet_are_known_for_every_layer():
    (pilotnet,) = (n for n in NETWORKS if n["weights"])
    assert all(row["words"][1] is not None for row in compare(pilotnet)[1])


@pytest.mark.parametrize(("name", "made"), [("rows", tables), ("cuts", cuts)])
def test_the_page_holds_the_tables_of_the_command(name, made):
    start, end = MARKS[name]
    page = PAGE.read_text(encoding="utf-8")
    assert made().strip() == page.partition(start)[2].partition(end)[0].strip()
