"""Hardware configs: every number has unit, evidence and source; what is wrong in a file is named by its key."""

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, ValidationError

import hw_configs
from hw_configs import Chip, HardwareConfigError, Quantity

FOLDER = Path(hw_configs.__file__).parent / "chips"


def leaves(value: object, key: str = "") -> list[tuple[str, Quantity]]:
    """All quantities of a config with their dotted keys."""
    if isinstance(value, Quantity):
        return [(key, value)]
    if isinstance(value, BaseModel):
        value = {name: getattr(value, name) for name in type(value).model_fields}
    if isinstance(value, dict):
        return [leaf for name, part in value.items() for leaf in leaves(part, f"{key}.{name}".lstrip("."))]
    return []


def changed(tmp_path: Path, key: str, **changes: object) -> Path:
    """A copy of loihi2 in which fields of one leaf are changed (None of a field named `drop` removes it)."""
    content = yaml.safe_load((FOLDER / "loihi2.yaml").read_text())
    leaf = content
    for part in key.split("."):
        leaf = leaf[part]
    leaf.update(changes)
    path = tmp_path / "chip.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_known_chips_are_available():
    assert hw_configs.available() == ("loihi1", "loihi2")


@pytest.mark.parametrize("name", hw_configs.available())
def test_every_leaf_of_a_shipped_chip_is_known_with_evidence_or_null(name):
    chip = hw_configs.load(name)
    found = leaves(chip)
    assert chip.name == name
    assert len(found) >= 35
    for key, quantity in found:
        known = quantity.value is not None or quantity.range is not None
        assert known == (quantity.evidence is not None), key
        assert quantity.value != 0, key
        assert len(quantity.source) > 5, key


@pytest.mark.parametrize(
    ("key", "value", "unit", "evidence"),
    [
        ("core.neurons", 4095, "neuron", "derived"),
        ("core.synaptic_words", 12000, "word", "measured"),
        ("usable_cores", 120, "core", "published"),
        ("core.pool_neuron_share", 0.2048, "1", "derived"),
        ("costs.loihi2_range.inter_chip_hop_energy", None, "pJ", None),
        ("costs.loihi2_range.synop_energy", 23.6, "pJ", "estimate"),
    ],
)
def test_loihi2_holds_the_published_numbers(key, value, unit, evidence):
    quantity = dict(leaves(hw_configs.load("loihi2")))[key]
    assert (quantity.value, quantity.unit, quantity.evidence) == (value, unit, evidence)


def test_every_loihi2_energy_is_an_estimate_with_a_range_where_it_sets_the_total():
    costs = hw_configs.load("loihi2").costs["loihi2_range"]
    assert {quantity.evidence for quantity in costs.values()} <= {"estimate", None}
    assert costs["synop_energy"].range == (6.8, 30)
    assert costs["neuron_update_energy"].range == (10.8, 81)


def test_a_chip_loads_by_path(tmp_path):
    path = changed(tmp_path, "usable_cores", value=117)
    assert hw_configs.load(path).usable_cores.value == 117
    assert hw_configs.load(str(path)) == hw_configs.load(path)


def test_configs_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        hw_configs.load("loihi2").cores.value = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "changes", "says"),
    [
        ("usable_cores", {"value": 0}, r"usable_cores\.value: .*greater than 0 \(found: 0\)"),
        ("usable_cores", {"value": -3}, r"usable_cores\.value: .*greater than 0"),
        ("usable_cores", {"value": "120"}, r"usable_cores\.value: .*valid number \(found: 120\)"),
        ("usable_cores", {"value": True}, r"usable_cores\.value: .*valid number"),
        ("core.neurons", {"value": float("nan")}, r"core\.neurons\.value: "),
        ("core.neurons", {"evidence": "guess"}, r"core\.neurons\.evidence: .*'estimate'.*found: guess"),
        ("core.neurons", {"evidence": None}, r"core\.neurons: .*needs evidence"),
        ("core.neurons", {"source": ""}, r"core\.neurons\.source"),
        ("core.neurons", {"unit": "kilo"}, r"core\.neurons\.unit: .*found: kilo"),
        ("core.neurons", {"vlaue": 4}, r"core\.neurons\.vlaue: Extra inputs are not permitted"),
        ("core", {"axons": 5}, r"core\.axons: Extra inputs are not permitted"),
        ("static_power", {"range": [540, 232]}, r"static_power: .*wrong order; write \[232, 540\]"),
        ("static_power", {"range": [300, 540]}, r"static_power: .*250 lies outside its range \[300, 540\]"),
        ("voltage", {"evidence": "estimate"}, r"voltage: .*must be null"),
        ("costs.loihi2_range", {"synop": None}, r"costs\.loihi2_range\.synop"),
    ],
)
def test_a_wrong_leaf_is_named_by_its_key(tmp_path, key, changes, says):
    with pytest.raises(HardwareConfigError, match=says):
        hw_configs.load(changed(tmp_path, key, **changes))


def test_a_missing_key_is_named(tmp_path):
    content = yaml.safe_load((FOLDER / "loihi2.yaml").read_text())
    del content["core"]["neurons"]["unit"], content["voltage"]
    path = tmp_path / "chip.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(HardwareConfigError, match=r"(?s)voltage: Field required.*core\.neurons\.unit: Field required"):
        hw_configs.load(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1, 2]", "must be a mapping of keys, not list"),
        ("", "must be a mapping of keys, not NoneType"),
        ("a: [1", "is not YAML"),
        (b"\xff\xfe\x00", "is not YAML"),
    ],
)
def test_a_file_that_is_no_config_is_named(tmp_path, text, says):
    path = tmp_path / "broken.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(HardwareConfigError, match=rf"broken\.yaml.*{says}"):
        hw_configs.load(path)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(HardwareConfigError, match=r"unknown hardware config 'loihi3': use one of loihi1, loihi2, or"):
        hw_configs.load("loihi3")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(HardwareConfigError, match="No such file"):
        hw_configs.load(tmp_path / "none.yaml")
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(HardwareConfigError, match="Is a directory"):
        hw_configs.load(tmp_path / "folder.yaml")


@pytest.mark.parametrize(
    ("quantity", "text"),
    [
        (Quantity(value=4095, unit="neuron", range=None, evidence="derived", source="x"), "4,095 neuron"),
        (Quantity(value=81, unit="pJ", range=(10.8, 81), evidence="estimate", source="x"), "81 pJ (10.8 to 81)"),
        (Quantity(value=None, unit="ns", range=(113, 465), evidence="published", source="x"), "113 to 465 ns"),
        (Quantity(value=None, unit="pJ", range=None, evidence=None, source="x"), "unknown"),
        (Quantity(value=0.2048, unit="1", range=None, evidence="derived", source="x"), "0.2048"),
    ],
)
def test_a_quantity_reads_as_value_unit_and_range(quantity, text):
    assert str(quantity) == text


def test_a_chip_is_equal_to_itself_after_a_round_trip():
    chip = hw_configs.load("loihi1")
    assert Chip.model_validate(chip.model_dump()) == chip


@pytest.mark.parametrize("name", hw_configs.available_coefficients())
def test_every_leaf_of_a_shipped_coefficient_set_is_known_with_evidence(name):
    coefficients = hw_configs.load_coefficients(name)
    assert coefficients.name == name
    found = leaves(coefficients)
    assert len(found) >= 5
    for key, quantity in found:
        assert quantity.value and quantity.evidence and len(quantity.source) > 5, key


def test_the_papers_energies_are_those_of_horowitz():
    coefficients = hw_configs.load_coefficients("horowitz45nm")
    assert (coefficients.mac_energy.value, coefficients.ac_energy.value) == (4.6, 0.9)
    assert (coefficients.node.value, coefficients.mac_energy.unit, coefficients.ac_energy.unit) == (45, "pJ", "pJ")


def test_a_wrong_coefficient_set_is_named_by_file_and_key(tmp_path):
    content = yaml.safe_load((FOLDER.parent / "coefficients" / "horowitz45nm.yaml").read_text())
    content["ac_energy"]["value"] = -0.9
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(HardwareConfigError, match=r"(?s)mine\.yaml.*ac_energy\.value: .*greater than 0"):
        hw_configs.load_coefficients(path)
    with pytest.raises(HardwareConfigError, match="unknown hardware config 'loihi2': use one of horowitz45nm, or"):
        hw_configs.load_coefficients("loihi2")
