"""Hardware configs: every number has unit, evidence and source; what is wrong in a file is named by its key."""

from copy import deepcopy
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import ValidationError

import hw_configs
from hw_configs import Chip, Coefficients, HardwareConfigError, Quantity, System
from hw_configs.quantity import Evidence, Unit

HERE = Path(hw_configs.__file__).parent
FOLDER = HERE / "chips"
NAMES = (*hw_configs.available(), *hw_configs.available_systems(), *hw_configs.available_coefficients())


def content_of(name: str) -> dict:
    """What a shipped file holds."""
    (path,) = HERE.glob(f"*/{name}.yaml")
    return yaml.safe_load(path.read_text())


def at(content: dict, key: str) -> dict:
    """The block of a dotted key."""
    for part in key.split(".") if key else ():
        content = content[part]
    return content


def changed(tmp_path: Path, key: str, base: str = "loihi2", **changes: object) -> Path:
    """A copy of a shipped file in which fields of one block are changed; key '' is the file itself."""
    content = content_of(base)
    at(content, key).update(changes)
    path = tmp_path / f"{'chip' if 'core' in content else 'mine'}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_known_chips_are_available():
    assert hw_configs.available() == ("loihi1", "loihi2")


def test_the_known_systems_are_available():
    assert hw_configs.available_systems() == ("hala_point", "kapoho_point", "oheo_gulch", "vpx_16")


def test_a_name_means_one_thing():
    costs = [name for chip in hw_configs.available() for name in hw_configs.load(chip).costs]
    assert len({*NAMES, *costs}) == len([*NAMES, *costs])


@pytest.mark.parametrize("name", NAMES)
def test_every_leaf_of_a_shipped_file_is_known_with_evidence_or_null(name):
    config = hw_configs.load_any(name)
    assert config.name == name
    assert len(config.leaves()) >= {Chip: 43, System: 7, Coefficients: 5}[type(config)]
    content = content_of(name)
    for key, quantity in config.leaves().items():
        assert at(content, key)["value"] == quantity.value, key
        known = quantity.value is not None or quantity.range is not None
        assert known == (quantity.evidence is not None), key
        assert quantity.value != 0, key
        assert len(quantity.source) > 5, key


@pytest.mark.parametrize(
    ("key", "value", "unit", "evidence"),
    [
        ("core.neurons", 4095, "neuron", "derived"),
        ("core.synaptic_words", 12000, "word", "measured"),
        ("core.neuron_state", 4096, "byte", "published"),
        ("core.synaptic_delay", 62, "step", "published"),
        ("core.dendritic_delay_cost", None, "bit", None),
        ("usable_cores", 120, "core", "published"),
        ("core.pool_neuron_share", 0.2048, "1", "derived"),
        ("costs.loihi2_range.inter_chip_hop_energy", None, "pJ", None),
        ("costs.loihi2_range.synop_energy", 23.6, "pJ", "estimate"),
    ],
)
def test_loihi2_holds_the_published_numbers(key, value, unit, evidence):
    quantity = hw_configs.load("loihi2").leaves()[key]
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
        ("core.neurons", {"value": None}, r"core\.neurons: .*evidence 'derived' must be null, too"),
        (
            "core.neurons",
            {"value": 4095.5},
            r"core\.neurons: value 4095\.5 must be a whole number, since its unit is neuron",
        ),
        ("core.neurons", {"unit": "word"}, r"core\.neurons: unit 'word' must be 'neuron'"),
        (
            "costs.loihi2_range.synop_energy",
            {"unit": "ns"},
            r"costs: loihi2_range\.synop_energy: unit 'ns' must be 'pJ'",
        ),
        ("core", {"axons": 5}, r"core\.axons: Extra inputs are not permitted"),
        ("core", {"axon_in": 16000}, r"core\.axon_in: must be a block of keys, value, unit, .*\(found: 16000\)"),
        ("usable_cores", {"value": 129}, r"(?m)^  usable_cores: 129 are more than the 128 cores$"),
        ("mesh_rows", {"value": 3}, r"mesh_columns: 8 x 3 routers of 4 cores .* do not hold 128 cores"),
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
        ("cores: 1\nname: x\ncores: 2", r"is not YAML: key 'cores' stands twice\n.*line 3"),
        (b"\xff\xfe\x00", "is not YAML"),
    ],
)
def test_a_file_that_is_no_config_is_named(tmp_path, text, says):
    path = tmp_path / "broken.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(HardwareConfigError, match=rf"(?s)broken\.yaml.*{says}"):
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
    for key, quantity in coefficients.leaves().items():
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


@pytest.mark.parametrize("name", NAMES)
def test_every_leaf_of_a_shipped_file_needs_all_its_fields_and_its_own_unit(name):
    model, content = type(hw_configs.load_any(name)), content_of(name)
    for key in hw_configs.load_any(name).leaves():
        for field in ("value", "unit", "range", "evidence", "source"):
            wrong = deepcopy(content)
            del at(wrong, key)[field]
            with pytest.raises(ValidationError, match="Field required"):
                model.model_validate(wrong)
        wrong = deepcopy(content)
        at(wrong, key)["unit"] = "V" if at(wrong, key)["unit"] != "V" else "nm"
        with pytest.raises(ValidationError, match="must be"):
            model.model_validate(wrong)


@pytest.mark.parametrize(
    ("name", "chips", "cores", "usable"),
    [
        ("oheo_gulch", 1, 128, 120),
        ("kapoho_point", 8, 1024, 120),
        ("vpx_16", 16, 2048, 120),
        ("hala_point", 1152, 140544, 122),
    ],
)
def test_a_system_has_its_chips_and_an_arrangement_that_holds_them_and_is_marked_as_estimate(
    name, chips, cores, usable
):
    system = hw_configs.load_system(name)
    assert (system.chip, system.chips.value, system.cores.value) == ("loihi2", chips, cores)
    assert system.usable_cores_per_chip.value == usable
    assert system.chip_columns.value * system.chip_rows.value == chips
    assert chips == 1 or system.chip_columns.evidence == system.chip_rows.evidence == "estimate"


def test_hala_point_holds_the_published_totals():
    system = hw_configs.load_system("hala_point")
    assert (system.neurons.value, str(system.neurons.evidence)) == (1.15e9, "published")
    assert (system.max_power.value, system.max_power.unit) == (2_600_000, "mW")


def test_both_chips_have_a_mesh_that_holds_their_cores():
    for chip in map(hw_configs.load, hw_configs.available()):
        assert chip.mesh_columns.value * chip.mesh_rows.value * chip.cores_per_router.value == chip.cores.value == 128
    assert hw_configs.load("loihi2").mesh_columns.evidence == "estimate"


def test_a_system_by_path_finds_its_chip_beside_its_file_wherever_it_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "chips").mkdir()
    changed(tmp_path / "chips", "core.neurons", value=99)
    changed(tmp_path, "", "kapoho_point", chip="chips/chip.yaml")
    monkeypatch.chdir(tmp_path)
    system = hw_configs.load_system("mine.yaml")
    assert system.file == "mine.yaml"
    monkeypatch.chdir("/")
    assert hw_configs.load(system.chip).core.neurons.value == 99
    assert hw_configs.load_system(tmp_path / "mine.yaml") == system


@pytest.mark.parametrize("chip", ["loihi3", "chips/none.yaml", "chips", "/none.yaml"])
def test_a_system_of_an_unknown_chip_is_named_by_file_and_key(tmp_path, chip):
    path = changed(tmp_path, "", "kapoho_point", chip=chip)
    with pytest.raises(
        HardwareConfigError, match=rf"(?s)mine\.yaml.*chip: no such chip; .*loihi1, loihi2.*found: {chip}"
    ):
        hw_configs.load_system(path)


def test_a_system_of_a_wrong_chip_is_refused_with_the_chips_key(tmp_path):
    changed(tmp_path, "core.neurons", value=-1)
    path = changed(tmp_path, "", "kapoho_point", chip="chip.yaml")
    with pytest.raises(HardwareConfigError, match=r"(?s)chip\.yaml.*core\.neurons\.value: .*greater than 0"):
        hw_configs.load_system(path)


@pytest.mark.parametrize(
    ("key", "changes", "says"),
    [
        ("cores", {"value": 1025}, "cores: 1,025 are more than 8 chips of 128 cores have"),
        ("usable_cores_per_chip", {"value": 129}, "usable_cores_per_chip: 129 are more than the 128 cores of loihi2"),
        ("cores", {"value": 900}, "usable_cores_per_chip: 8 chips of 120 are more than the 900 cores"),
        ("chip_rows", {"value": 1}, "chip_columns: 4 columns of 1 chips .* do not hold 8 chips"),
        ("chips", {"unit": "core"}, "chips: unit 'core' must be 'chip'"),
        ("chips", {"value": "eight"}, r"chips\.value: .*valid number \(found: eight\)"),
        ("chips", {"value": 7.5}, r"chips: value 7\.5 must be a whole number"),
        ("chip_rows", {"evidence": None}, "chip_rows: .*needs evidence"),
        ("", {"topology": None}, "topology: Extra inputs are not permitted"),
        ("", {"chip": ""}, "chip: String should have at least 1 character"),
    ],
)
def test_a_wrong_system_is_named_by_file_and_key(tmp_path, key, changes, says):
    with pytest.raises(HardwareConfigError, match=rf"(?s)mine\.yaml.*  {says}"):
        hw_configs.load_system(changed(tmp_path, key, "kapoho_point", **changes))


def test_a_null_is_allowed_until_the_number_is_needed(tmp_path):
    unknown = {"value": None, "evidence": None, "source": "nobody says"}
    system = hw_configs.load_system(changed(tmp_path, "chip_rows", "kapoho_point", **unknown))
    assert system.needed("chips") == 8
    message = r"mine\.yaml': chip_rows is null \(nobody says\).*give chip_rows a value in chip with evidence and source"
    with pytest.raises(HardwareConfigError, match=message):
        system.needed("chip_rows")


def test_a_needed_number_of_a_chip_is_found_by_its_dotted_key():
    chip = hw_configs.load("loihi1")
    assert chip.needed("core.neurons") == 1024
    assert chip.needed("costs.davies2018.synop_energy") == 23.6
    with pytest.raises(HardwareConfigError, match=r"loihi1\.yaml': core\.axon_map is null"):
        chip.needed("core.axon_map")
    with pytest.raises(
        HardwareConfigError, match=r"loihi1\.yaml' has no key costs\.davies2018\.message_energy; add it"
    ):
        chip.needed("costs.davies2018.message_energy")


@pytest.mark.parametrize("name", NAMES)
def test_any_config_loads_without_saying_of_which_kind_it_is(name, tmp_path):
    config = hw_configs.load_any(name)
    (path,) = HERE.glob(f"*/{name}.yaml")
    copy = tmp_path / "copy.yaml"
    copy.write_text(path.read_text())
    assert hw_configs.load_any(copy) == config
    assert (config.file, hw_configs.load_any(copy).file) == (str(path), str(copy))
    assert config != hw_configs.load_any("loihi1" if name != "loihi1" else "loihi2")


@pytest.mark.parametrize("text", ["name: x", "{core: 1, chips: 2}"])
def test_a_file_of_no_kind_or_of_two_is_refused(tmp_path, text):
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(HardwareConfigError, match=r"odd\.yaml' is neither clearly a chip, nor a system"):
        hw_configs.load_any(path)


def test_the_readme_shows_a_system_that_loads_and_every_unit_and_evidence(tmp_path):
    text = (HERE / "README.md").read_text()
    path = tmp_path / "two_boards.yaml"
    (example,) = (block.split("```")[0] for block in text.split("```yaml\n") if block.startswith("name:"))
    path.write_text(example)
    assert hw_configs.load_system(path).name == "two_boards"
    for unit in get_args(Unit):
        assert f"`{unit}`" in text or f'`"{unit}"`' in text, unit
    for evidence in get_args(Evidence):
        assert f"| {evidence} |" in text, evidence
    for folder in ("chips", "systems", "coefficients"):
        assert f"`{folder}/`" in text


def test_the_readme_shows_errors_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (HERE / "README.md").read_text()
    content = content_of("vpx_16")
    content["chip_columns"] |= {"value": None, "evidence": None, "source": "not published"}
    Path("mine.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(HardwareConfigError) as null:
        hw_configs.load_system("mine.yaml").needed("chip_columns")
    content["chips"]["value"] = "sixteen"
    content["cores"]["unit"] = "chip"
    Path("mine.yaml").write_text(yaml.safe_dump(content | {"max_powre": 5}))
    with pytest.raises(HardwareConfigError) as wrong:
        hw_configs.load_system("mine.yaml")
    for error in (null, wrong):
        assert f"neuroseg: {error.value}\n```" in text
