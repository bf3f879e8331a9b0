"""The wheel works where the sources are not, the environment is the locked one, and set-up fails in one clear line."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import tomli
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PACKAGES = ("neuroseg", "export", "hw_configs")
NETWORKS = ROOT / "neuroseg" / "zoo" / "networks"


def run(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command away from the sources: no PYTHONPATH, another folder."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIRTUAL_ENV", "PYENV", "MAKE"))
    }
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=inherited | environment,
        text=True,
        capture_output=True,
        timeout=300,
        check=False,
    )


def project() -> dict:
    return tomli.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(file: str) -> dict[str, str]:
    """Name -> version of a lock file."""
    lines = (ROOT / "requirements" / file).read_text().splitlines()
    found = [re.match(r"([A-Za-z0-9._-]+)==(\S+)", line) for line in lines]
    return {canonicalize_name(match[1]): match[2] for match in found if match}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Our wheel, built offline from a copy of the sources."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    build = "import setuptools.build_meta as b; b.build_wheel('dist')"
    (source / "dist").mkdir()
    done = run(sys.executable, "-c", build, cwd=source)
    assert done.returncode == 0, done.stderr
    [built] = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def clean(wheel, tmp_path_factory) -> Path:
    """bin folder of a new environment: our wheel, and the installed dependencies by a path file.

    A path file adds a folder, but does not follow the path files in it: the editable install stays out.
    """
    home = tmp_path_factory.mktemp("clean") / "env"
    made = run(sys.executable, "-m", "virtualenv", "--quiet", "--no-download", home, cwd=home.parent)
    assert made.returncode == 0, made.stderr
    binaries = home / "bin"
    installed = run(binaries / "python", "-m", "pip", "install", "--no-deps", "--no-index", wheel, cwd=home.parent)
    assert installed.returncode == 0, installed.stderr
    [packages] = (home / "lib").glob("python3.10/site-packages")
    dependencies = next(path for path in sys.path if path.endswith("site-packages") and (Path(path) / "torch").is_dir())
    (packages / "dependencies.pth").write_text(dependencies + "\n")
    return binaries


def test_the_wheel_holds_our_three_packages_and_all_their_files(wheel):
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".yaml", ".j2")
        or path.name == "README.md"
        or (NETWORKS in path.parents and path.is_file())
    }
    assert inside == files
    networks = {name for name in inside if name.startswith("neuroseg/zoo/networks/")}
    assert {Path(name).suffix for name in networks} == {".yaml", ".safetensors", ".json", ".md", ".png"}


def test_the_installed_command_shows_its_help_far_from_the_sources(clean, tmp_path):
    done = run(clean / "neuroseg", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for command in ("train", "export", "simulate", "parity", "demo"):
        assert command in done.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_the_installed_packages_come_from_the_clean_environment(clean, tmp_path, package):
    done = run(clean / "python", "-c", f"import {package}; print({package}.__file__)", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(clean.parent)


def test_a_hardware_config_loads_from_the_installed_package(clean, tmp_path):
    code = "import hw_configs; print(hw_configs.available(), hw_configs.load('loihi2').core.neurons)"
    code += "; print(hw_configs.available_systems(), hw_configs.load_system('kapoho_point').chips)"
    done = run(clean / "python", "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "('loihi1', 'loihi2') 4,095 neuron",
        "('hala_point', 'kapoho_point', 'oheo_gulch', 'vpx_16') 8 chip",
    ]


def test_a_network_of_the_zoo_loads_from_the_installed_package(clean, tmp_path):
    done = run(clean / "neuroseg", "zoo", "get", "mfs-digits", "--out", "copy", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    code = "from pathlib import Path; from neuroseg.train import load_run; print(load_run(Path('copy'))[0].name)"
    done = run(clean / "python", "-c", code, cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "demo"), done.stderr


def test_every_dependency_is_locked_at_a_version_that_fits():
    locked = pins("lock.txt")
    wanted = [*project()["dependencies"], *project()["optional-dependencies"]["test"]]
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement


def test_every_pin_is_hashed():
    for file in ("lock.txt", "uv.txt"):
        entries = re.split(r"\n(?=\S)", (ROOT / "requirements" / file).read_text().strip())
        assert len(entries) == len(pins(file)) > 0
        assert all("--hash=sha256:" in entry for entry in entries)


def test_requirements_hold_names_versions_and_hashes_and_no_address():
    name_and_version = r"[A-Za-z0-9._-]+((==|>=|<)[A-Za-z0-9.+]+)?( ; [a-z_]+ .*)?( \\)?"
    allowed = re.compile(rf"#.*|{name_and_version}|    --hash=sha256:[0-9a-f]{{64}}( \\)?")
    for path in sorted((ROOT / "requirements").iterdir()):
        assert [line for line in path.read_text().splitlines() if "://" in line or not allowed.fullmatch(line)] == []


def test_no_tracked_lock_file_carries_an_address():
    listed = run("git", "ls-files", cwd=ROOT)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    locks = [
        name for name in listed.stdout.splitlines() if re.search(r"(lock|requirements[^/]*\.txt|\.lock)$|lock\.", name)
    ]
    assert [name for name in locks if "://" in (ROOT / name).read_text()] == []


def test_the_running_environment_is_python_3_10_with_the_locked_versions():
    assert sys.version_info[:2] == (3, 10)
    locked = pins("lock.txt")
    for name in ("torch", "lava-nc", "lava-dl", "numpy", "pydantic", "scikit-learn"):
        assert version(name).split("+")[0] == locked[name]


def copy_of_setup(folder: Path) -> Path:
    """A project folder with nothing but what set-up reads, and the given uv in place of .tools."""
    for name in ("pyproject.toml", "Makefile", ".python-version"):
        shutil.copy(ROOT / name, folder)
    for name in ("scripts", "requirements"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


def only(folder: Path, *programs: str) -> str:
    """A PATH that has just these programs."""
    folder.mkdir()
    for program in programs:
        (folder / program).symlink_to(shutil.which(program))
    return str(folder)


SHELL = ("bash", "make", "env", "sed", "rm", "mv", "dirname", "touch", "cat", "chmod")


def fake(path: Path, text: str) -> None:
    """An executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)


def test_without_python_3_10_set_up_says_in_one_line_how_to_get_it(tmp_path):
    folder = copy_of_setup(tmp_path)
    # a uv of the right version, that cannot fetch a Python
    fake(folder / ".tools/bin/uv", f'[ "$1" = --version ] && echo "uv {pins("uv.txt")["uv"]}" || exit 2')
    done = run("scripts/set_up.sh", "dependencies", cwd=folder, PATH=only(tmp_path / "bin", *SHELL), HOME=str(tmp_path))
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert "Python 3.10" in done.stderr
    assert "pyenv install 3.10" in done.stderr
    assert not (folder / ".venv").exists()


def test_a_failed_set_up_leaves_no_stamp_and_is_done_again(tmp_path):
    folder = copy_of_setup(tmp_path)
    log = folder / "log"
    # a uv that makes the environment, and fails at its first installation
    fake(
        folder / ".tools/bin/uv",
        f"""case "$1 $2" in
        --version*) echo "uv {pins("uv.txt")["uv"]}";;
        venv*) mkdir -p .venv/bin; echo venv >> {log};;
        pip*) echo pip >> {log}; [ -e {folder}/network ];;
        esac""",
    )
    path = only(tmp_path / "bin", *SHELL, "mkdir")
    (tmp_path / "bin" / "python3.10").symlink_to(sys.executable)
    fake(folder / ".venv/bin/python", "exit 0")  # the half-made rest of an earlier attempt
    goal = ("make", ".venv/.project-installed")
    first = run(*goal, cwd=folder, PATH=path, HOME=str(tmp_path))
    assert first.returncode != 0
    assert log.read_text().split() == ["venv", "pip"]
    assert not (folder / ".venv/bin/python").exists()
    (folder / "network").touch()
    assert run(*goal, cwd=folder, PATH=path, HOME=str(tmp_path)).returncode == 0
    assert log.read_text().split() == ["venv", "pip", "venv", "pip", "pip"]
    again = run(*goal, cwd=folder, PATH=path, HOME=str(tmp_path))
    assert "up to date" in again.stdout
    assert log.read_text().split() == ["venv", "pip", "venv", "pip", "pip"]


@pytest.mark.parametrize(
    ("changed", "calls"), [("requirements/lock.txt", ["venv", "pip", "pip"]), ("pyproject.toml", ["pip"])]
)
def test_a_changed_lock_or_project_is_installed_again(tmp_path, changed, calls):
    folder = copy_of_setup(tmp_path)
    log = folder / "log"
    fake(
        folder / ".tools/bin/uv",
        f"""case "$1 $2" in
        --version*) echo "uv {pins("uv.txt")["uv"]}";;
        venv*) mkdir -p .venv; echo venv >> {log};;
        pip*) echo pip >> {log};;
        esac""",
    )
    path = only(tmp_path / "bin", *SHELL, "mkdir")
    (tmp_path / "bin" / "python3.10").symlink_to(sys.executable)
    goal = ("make", ".venv/.project-installed")
    assert run(*goal, cwd=folder, PATH=path, HOME=str(tmp_path)).returncode == 0
    log.write_text("")
    later = (folder / ".venv/.project-installed").stat().st_mtime + 2
    os.utime(folder / changed, (later, later))
    assert run(*goal, cwd=folder, PATH=path, HOME=str(tmp_path)).returncode == 0
    assert log.read_text().split() == calls
