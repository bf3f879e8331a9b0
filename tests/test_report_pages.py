"""The report as a user meets it: two pages in a browser, and tables on a terminal."""

import base64
import json
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
from lively import compiled_and_recorded

from export.bundle import MANIFEST, open_bundle, sealed, write_bundle
from export.errors import FileFormatError, UsageError
from export.files import sha256, write_json
from export.report.about import About
from export.report.figures import MOST_BARS, draw
from export.report.pages import MOST_CORES, report_page, with_unit
from neuroseg.commands.reporting import read_report

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"  # Debian's packages chromium and chromium-driver
WIDTH = 1280
PAGES = ("report.html", "certificate.html")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle of a small network that fires."""
    compiled, inputs, known = compiled_and_recorded()
    out = tmp_path_factory.mktemp("report") / "bundle"
    about = About("lively", 0.4321, "test")
    write_bundle(compiled, out, model_files={}, inputs=inputs, spikes=known, about=about)
    return out


@pytest.fixture(scope="module")
def content(bundle):
    """Its report.json."""
    return json.loads((bundle / "report.json").read_text())


@contextmanager
def browser(profile):
    """Chromium without a window, 1280 pixels wide, that may load nothing but files."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={WIDTH},900"):
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={profile}")
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": WIDTH, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """One browser for all pages."""
    missing = [path for path in (CHROMIUM, DRIVER) if not Path(path).exists()]
    if missing:
        pytest.skip(f"no {' and no '.join(missing)}: apt install chromium chromium-driver")
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@contextmanager
def width_of(driver, width: int):
    """The same browser with a narrower window."""
    size = {"height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, **size})
    yield
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": WIDTH, **size})


def open_page(driver, path: Path) -> dict:
    """Open a page, unfold everything; what the browser says about it."""
    driver.get_log("browser")  # what earlier pages left
    driver.get(path.resolve().as_uri())
    driver.execute_script("document.querySelectorAll('details').forEach(e => e.open = true)")
    return driver.execute_script(
        """return {
            width: document.documentElement.scrollWidth,
            inner: window.innerWidth,
            title: document.title,
            text: document.body.innerText,
            images: [...document.images].map(i => [i.complete, i.naturalWidth, i.clientWidth]),
            wide: [...document.querySelectorAll('body *')].filter(e => e.scrollWidth > e.clientWidth + 1
                  && getComputedStyle(e).display != 'inline').map(e => `${e.tagName} ${e.className} ${e.innerText.slice(0, 40)}`),
            resources: performance.getEntriesByType('resource').map(r => r.name).filter(n => !n.startsWith('data:')),
        }"""
    ) | {"log": driver.get_log("browser")}


@pytest.mark.parametrize("page", PAGES)
def test_pages_have_no_console_error_and_no_horizontal_scrolling(driver, bundle, page):
    seen = open_page(driver, bundle / page)
    assert seen["log"] == []
    assert seen["inner"] == WIDTH
    assert seen["width"] <= WIDTH
    assert seen["wide"] == []
    assert seen["resources"] == []


@pytest.mark.parametrize("page", PAGES)
def test_narrow_pages_scroll_inside_wide_tables_only(driver, bundle, page):
    with width_of(driver, 800):
        seen = open_page(driver, bundle / page)
    assert seen["width"] <= 800
    assert all("scroll" in name for name in seen["wide"])


def test_pointing_at_a_core_names_its_population_and_numbers(driver, bundle, content):
    from selenium.webdriver import ActionChains

    open_page(driver, bundle / "report.html")
    core = content["core_loads"][7]
    square = driver.execute_script(
        """return [...document.querySelectorAll('.map rect[data-g]')].find(r => {
            r.dispatchEvent(new PointerEvent('pointerover', {bubbles: true}));
            return document.getElementById('tip').textContent.includes('core ' + arguments[0] + ' on chip');
        })""",
        core["core"],
    )
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", square)
    ActionChains(driver).move_to_element(square).perform()
    tip = driver.find_element("id", "tip")
    assert tip.is_displayed()
    for part in (
        core["population"],
        f"{core['neurons']:,} of 4,095 neurons",
        f"pool {core['pool']:.0%}",
        "packets per",
    ):
        assert part in tip.text
    assert with_unit(core["energy_nominal_j"], "J") in tip.text
    same = driver.execute_script("return document.querySelectorAll('.map rect.same').length")
    assert same == sum(row["population"] == core["population"] for row in content["core_loads"])
    ActionChains(driver).move_to_element(driver.find_element("tag name", "h1")).perform()
    assert not tip.is_displayed()


def test_the_colours_of_the_map_switch_with_their_legend(driver, bundle, content):
    open_page(driver, bundle / "report.html")
    seen = []
    for name in ("use", "synops", "energy"):
        driver.find_element("css selector", f"label[for=by-{name}]").click()
        seen.append(
            driver.execute_script(
                """return [...document.querySelectorAll('.map rect[data-g]')].map(r => getComputedStyle(r).fill)"""
            )
        )
        legends = driver.find_elements("css selector", ".legend:not(.always)")
        assert [legend.is_displayed() for legend in legends] == [
            f"of-{name}" in x.get_attribute("class") for x in legends
        ]
    assert len(seen[0]) == content["cores"]
    assert seen[0] != seen[1] != seen[2] and "rgb(0, 0, 0)" not in {fill for fills in seen for fill in fills}
    most = max(content["core_loads"], key=lambda row: row["synops_per_sample"])
    darkest = driver.execute_script("return document.querySelectorAll('.map rect.s9').length")
    level = [row for row in content["core_loads"] if row["synops_per_sample"] >= 0.9 * most["synops_per_sample"]]
    assert darkest == len(level)


@pytest.mark.parametrize("by", ["click", "key"])
def test_a_table_sorts_by_the_head_that_is_clicked_and_turns_round_when_clicked_again(driver, bundle, content, by):
    from selenium.webdriver.common.keys import Keys

    open_page(driver, bundle / "report.html")
    table = driver.find_element("xpath", "//h2[@id='populations']/following::table[1]")
    head = table.find_element("xpath", ".//th[contains(., 'synops')]")

    def column():
        cells = table.find_elements("xpath", ".//tbody/tr/td[8]")
        return [float(cell.text.replace(",", "")) for cell in cells]

    wanted = sorted((round(row["synops_per_sample"]) for row in content["populations"]), reverse=True)
    assert column() != wanted
    for order in (wanted, wanted[::-1]):
        driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", head)
        head.click() if by == "click" else head.send_keys(Keys.ENTER)
        assert [round(value) for value in column()] == order
    assert head.get_attribute("aria-sort") == "ascending"


def test_energies_sort_by_their_value_and_not_by_their_letters(driver, bundle, content):
    open_page(driver, bundle / "report.html")
    table = driver.find_element("xpath", "//h2[@id='delays']/following::table[1]")
    head = table.find_element("xpath", ".//th[contains(., 'energy')]")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", head)
    head.click()
    shown = [row.text for row in table.find_elements("xpath", ".//tbody/tr/td[1]")]
    rows = sorted(content["delays"]["sources"], key=lambda row: -row["energy_nominal_j"])
    assert shown == [row["name"] for row in rows]
    assert {with_unit(row["energy_nominal_j"], "J")[-2] for row in rows if row["cores"]} == {"n", "\u00b5"}, (
        "two prefixes, which letters would mix up"
    )


def test_without_a_script_the_map_names_its_cores_and_tables_hold_all(bundle, content):
    text = re.sub(r"<script>.*?</script>", "", (bundle / "report.html").read_text(), flags=re.S)
    assert text.count("data-g=") == text.count("packets per sample: ") == content["cores"]
    assert 'id="by-use" checked' in text
    for row in content["delays"]["sources"]:
        assert f">{row['name']}</td>" in text


def test_all_plots_are_drawn_at_the_width_of_the_page(driver, bundle):
    seen = open_page(driver, bundle / "report.html")
    assert len(seen["images"]) == 5
    assert all(complete and natural > 500 and shown > 900 for complete, natural, shown in seen["images"])


def test_long_names_wrap_and_markup_in_names_is_shown_as_text(driver, content, tmp_path):
    long = "encoder<script>alert(1)</script>" + ".very_long_block_name" * 12
    text = json.dumps(content).replace("encoder0.output", long.replace('"', ""))
    path = tmp_path / "long.html"
    path.write_text(report_page(json.loads(text)), encoding="utf-8")
    seen = open_page(driver, path)
    assert seen["log"] == []
    assert seen["width"] <= WIDTH
    assert long in seen["text"]


def test_the_report_links_to_the_certificate_and_back(driver, bundle):
    from selenium.webdriver.common.by import By

    open_page(driver, bundle / "report.html")
    driver.find_element(By.PARTIAL_LINK_TEXT, "certificate").click()
    assert driver.title == "Spike-only certificate"
    driver.find_element(By.PARTIAL_LINK_TEXT, "report").click()
    assert driver.title == "neuroseg report"


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_nothing_outside_themselves(bundle, page):
    text = re.sub(r"data:image/svg\+xml;base64,[A-Za-z0-9+/=]+", "", (bundle / page).read_text())
    assert text.count("<script") == text.count("<script>") == (page == "report.html")
    assert "http" not in text and "@import" not in text and "url(" not in text
    assert set(re.findall(r'(?:href|src)="([^"]*)"', text)) <= {"data:,", "", *PAGES}


def test_plots_are_valid_svg_and_equal_for_equal_reports(content):
    import xml.etree.ElementTree as ET

    plots = draw(content)
    assert set(plots) == {"neurons", "rates", "synops", "cores", "energy"}
    assert draw(content) == plots
    for uri in plots.values():
        root = ET.fromstring(base64.b64decode(uri.split(",", 1)[1]))
        assert root.tag.endswith("svg")


def test_the_page_holds_every_population_and_the_formulas_with_their_sources(bundle, content):
    text = (bundle / "report.html").read_text()
    for row in content["populations"]:
        assert f">{row['name']}</td>" in text
    for source in content["hardware"]:
        assert source["key"] in text
    assert "T * (fr * E_AC * ACs + E_MAC * MACs_host)" in text
    assert "synops * synop_energy + updates * neuron_update_energy" in text
    assert "Not modelled: several populations on one core" in text
    assert f"{content['cores_lower_bound_shared']} with several" in text


def test_a_network_of_many_cores_shows_the_busiest_and_says_so(content):
    one = content["core_loads"][0]
    many = [one | {"core": i, "spot": i, "max_synops_per_step": i} for i in range(3 * MOST_CORES + 1)]
    rows = [content["populations"][1] | {"name": f"p{i}", "neurons": i + 1} for i in range(MOST_BARS + 20)]
    big = content | {"core_loads": many, "cores": len(many), "chips": 10, "populations": rows}
    text = report_page(big)
    assert f"The {MOST_CORES} busiest of 1,201 cores; report.json has all" in text
    assert "1,201 cores are too many to draw: each square is a chip" in text and text.count('<rect class="u') == 1
    assert text.count(">p7</td>") == 2, "in the table of what fills cores, and in that of populations"


def test_the_page_names_the_network_and_what_made_it(bundle, content):
    text = (bundle / "report.html").read_text()
    versions = json.loads((bundle / MANIFEST).read_text())["versions"]
    assert content["versions"] == versions
    for part in ("<h1>lively on loihi2</h1>", "Input 3\u00d716\u00d716, T = 4", "mIoU 0.4321 on the test split"):
        assert part in text
    assert all(f"{name} {version}" in text for name, version in versions.items() if version)
    assert f"{content['params']:,} parameters" in text
    assert f"mean of {content['firing_rate_of']}" in text
    assert f"MACs = {content['macs_per_step']:,} per step ({content['macs_per_step_deployed']:,} without" in text
    nameless = report_page(content | {"name": None, "miou": None, "miou_split": None})
    assert "<h1>Network on loihi2</h1>" in nameless and "mIoU" not in nameless


@pytest.mark.parametrize(
    ("cores", "chips", "used", "spare"),
    [
        (119, 1, "119 of 120 cores of one chip", "1 to spare, 0.8%"),
        (121, 2, "121 of 240 cores of 2 chips", "119 to spare"),
    ],
)
def test_the_tile_of_cores_gives_the_margin_and_the_bound(content, cores, chips, used, spare):
    text = report_page(content | {"cores": cores, "chips": chips, "cores_to_spare": 120 * chips - cores})
    assert f"<b>{used}</b>" in text, "not coloured: the bounds are not all of them"
    assert spare in text
    assert f"at least {content['cores_lower_bound']} are needed" in text


def test_a_network_that_does_not_fit_says_so_in_the_page(content):
    broken = content | {"fits": False, "findings": ["population 'x' needs 99,999 words"]}
    text = report_page(broken)
    assert '<b class="bad">no</b>' in text and "population &#39;x&#39; needs 99,999 words" in text


def test_the_certificate_page_lists_every_edge_and_gate(bundle):
    certificate = json.loads((bundle / "certificate.json").read_text())
    text = (bundle / "certificate.html").read_text()
    assert text.count("<td>binary</td>") == len(certificate["edges"]) >= 50
    for name in (*certificate["and"], *certificate["or"], *certificate["on_host"], *certificate["input_populations"]):
        assert name in text


def test_the_report_command_prints_the_json_or_tables(cli, bundle, content):
    code, out, err = cli("report", bundle, "--json")
    assert code == 0, err
    assert json.loads(out) == content
    code, out, err = cli("report", bundle)
    assert code == 0, err
    assert out == ""
    text = " ".join(err.split())
    for part in (
        "23,680",
        f"{content['neurons_deployed']:,}",
        "decoder0.output",
        "45 nm, as deployed",
        "loihi2, static",
        "not modelled",
        "hilbert",
        "delay neurons: 58%",
        "lively: input 3x16x16",
    ):
        assert part in text


def test_the_report_command_writes_both_pages(cli, bundle, tmp_path):
    code, _, err = cli("report", bundle, "--html", tmp_path / "mine.html")
    assert code == 0, err
    assert {p.name for p in tmp_path.iterdir()} == {"mine.html", "mine.certificate.html"}
    assert 'href="mine.certificate.html"' in (tmp_path / "mine.html").read_text()
    assert 'href="mine.html"' in (tmp_path / "mine.certificate.html").read_text()
    with pytest.raises(UsageError, match="is a folder; give the name of a file"):
        read_report(bundle, html=tmp_path)


@pytest.mark.parametrize("name", ["report.html", "new.html", "model/new.html"])
def test_a_page_is_never_written_into_a_bundle(bundle, tmp_path, name):
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    with pytest.raises(UsageError, match="lies inside the bundle"):
        read_report(copy, html=copy / name)
    open_bundle(copy)


def test_a_changed_report_is_refused_unless_told_otherwise(cli, bundle, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    (copy / "report.json").write_text((copy / "report.json").read_text().replace('"neurons": 23680', '"neurons": 1'))
    code, _, err = cli("report", copy)
    assert code == 1
    assert "'report.json' was changed after the export" in err
    code, out, err = cli("report", copy, "--no-verify", "--json")
    assert code == 0
    assert json.loads(out)["neurons"] == 1 and "NOT checked" in err


def test_a_bundle_of_an_older_neuroseg_is_told_to_export_again(bundle, content, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    (copy / "report.html").unlink()
    write_json(copy / "report.json", content | {"schema_version": 1})
    manifest = json.loads((copy / MANIFEST).read_text())
    del manifest["files"]["report.html"]
    manifest["files"]["report.json"]["sha256"] = sha256(copy / "report.json")
    write_json(copy / MANIFEST, sealed(manifest))
    open_bundle(copy)  # it still runs
    with pytest.raises(
        FileFormatError, match=r"schema version 1; this neuroseg reads version 4\. Export the run again"
    ):
        read_report(copy)
