"""`neuroseg export --system`: what does not fit is refused before anything is written; `--force` says so in the report."""

import json

import pytest
from lively import make_run
from small_system import write_system

from export.netx.read import read_netx
from neuroseg.commands.exporting import export_run, summarise


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("export") / "run")


@pytest.fixture(scope="module")
def by_neuron(run, tmp_path_factory):
    """A bundle whose skips wait in delay neurons, with its report."""
    bundle = tmp_path_factory.mktemp("neuron") / "bundle"
    return bundle, export_run(run, bundle, vectors=1, delays="neuron", system="oheo_gulch")


@pytest.fixture(scope="module")
def plain(run, tmp_path_factory):
    """The report of the same, exported without any option."""
    return export_run(run, tmp_path_factory.mktemp("plain") / "bundle", vectors=1)


@pytest.fixture
def summary(capsys):
    """What `export` tells the user of a report."""

    def told(report):
        summarise(report, "bundle")
        return " ".join(capsys.readouterr().err.split())

    return told


def test_a_network_of_too_many_cores_is_refused_with_the_worst_populations_and_nothing_is_written(cli, run, tmp_path):
    system, out = write_system(tmp_path, 30), tmp_path / "bundle"
    code, printed, err = cli("export", run, "--out", out, "--system", system, "--json")
    text = " ".join(err.split())
    assert (code, printed) == (1, "") and not out.exists()
    assert "does not fit mine; nothing was written" in text
    assert "mine has 30 cores on 1 chip" in text and "Most are taken by '" in text and "(1 cores)" in text
    assert "populations, and each takes a core or more" in text  # more of them than cores
    assert f"neuroseg fit {run / 'config.yaml'} --system {system}" in text and "--force" in text


def test_populations_that_no_core_holds_are_named_worst_first_with_number_and_limit(cli, run, tmp_path):
    system = write_system(tmp_path, 120, synaptic_words=30)
    code, _, err = cli("export", run, "--out", tmp_path / "bundle", "--system", system)
    assert code == 1
    told = [line for line in err.splitlines() if "words of synaptic memory" in line]
    needed = [int(line.split(" needs ")[1].split(" words")[0].replace(",", "")) for line in told]
    assert len(needed) == 3 and needed == sorted(needed, reverse=True) and min(needed) > 30
    assert all("little has 30" in line and "smaller fan-in" in line for line in told)
    assert "more populations that no core holds" in err


def test_forced_it_is_written_and_the_report_says_that_it_does_not_fit(cli, run, tmp_path):
    system, out = write_system(tmp_path, 30), tmp_path / "bundle"
    code, printed, err = cli("export", run, "--out", out, "--system", system, "--force", "--vectors", 1, "--json")
    assert code == 0, err
    report = json.loads(printed)
    assert report["fits"] is False and any("mine has 30 cores" in finding for finding in report["findings"])
    assert any("mine has 30 cores" in warning for warning in report["warnings"])
    assert json.loads((out / "report.json").read_text())["fits"] is False
    assert "mine has 30 cores" in (out / "report.html").read_text()
    code, _, err = cli("report", out)
    assert code == 0 and "does NOT fit" in " ".join(err.split())


def test_what_fits_is_exported_as_without_a_system(run, plain, tmp_path):
    placed = export_run(run, tmp_path / "placed", vectors=1, system="oheo_gulch")
    assert placed["fits"] and plain["fits"]
    assert placed["system"] == "oheo_gulch" and plain["system"] is None
    for key in ("cores", "neurons_deployed", "delays", "synops_per_sample"):
        assert plain[key] == placed[key], key


def test_without_a_system_nothing_is_refused(cli, tmp_path):
    """The same network on two chips, as the chip alone would count them."""
    config = tmp_path / "run"
    make_run(config, widths=[16, 16, 16], blocks=2)
    code, out, err = cli("export", config, "--out", tmp_path / "bundle", "--vectors", 1, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["chips"] > 1 and report["fits"]
    code, _, err = cli("export", config, "--out", tmp_path / "other", "--vectors", 1, "--system", "oheo_gulch")
    assert code == 1 and "oheo_gulch has 120 cores on 1 chip" in " ".join(err.split())


def test_the_delays_asked_for_are_in_the_bundle_and_the_report(by_neuron):
    bundle, report = by_neuron
    assert report["delays"]["mode"] == "neuron" == json.loads((bundle / "report.json").read_text())["delays"]["mode"]
    assert report["delays"]["needs_programmable_neuron"] and report["delays"]["relay_neurons"] == 0
    network = read_netx(bundle / "network.net")
    assert network.neurons(["delay"]) == report["delays"]["delay_neurons"] > 0
    assert network.neurons(["relay"]) == 0


def test_the_summary_prints_what_waits_and_that_a_board_needs_a_programmable_neuron(summary, by_neuron):
    report = by_neuron[1]
    text = summary(report)
    assert "of these delay neurons" in text and f"{report['delays']['delay_neurons']:,} behind" in text
    for name, sends in report["delays"]["input_sends"].items():
        assert f"{name} {sends} times" in text
    assert "the host sends" in text and "delay neurons need a programmable neuron" in text


def test_relays_stay_the_default_and_need_no_programmable_neuron(summary, plain):
    text = summary(plain)
    assert plain["delays"]["mode"] == "relay" and "relay populations" in text
    assert "programmable" not in text and "of these delay neurons" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--delays", "none"), "unknown delays 'none'; choose one of relay, neuron, auto"),
        (("--force",), "--force needs --system: without one, nothing is refused"),
        (("--system", "nowhere"), "unknown hardware config 'nowhere'"),
    ],
)
def test_wrong_options_are_refused_before_the_run_is_read(cli, tmp_path, arguments, message):
    code, out, err = cli("export", tmp_path / "no-such-run", "--out", tmp_path / "bundle", *arguments)
    assert (code, out) == (2, "") and message in " ".join(err.split())
