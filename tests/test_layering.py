"""The layers hold: imports go one way only, and Lava's runtime is met in one folder only."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Left to right; a module imports from its own stage and from those before it. Metrics stand before train, since
# training reports mIoU while it runs. The zoo knows names and cards only: whoever takes a RUN may ask it.
NEUROSEG_STAGES = ("config", "zoo", "data", "metrics", "models", "train", "convert")
COMMANDS = ("cli", "commands", "demo", "__main__")  # know everything
EXPORT_STAGES = (
    "errors",
    "files",
    "compute",  # threads, machine code, exact floats: training computes with them, too
    "graph",
    "dataflow",
    "execute",  # integer arithmetic on a graph: prove_range looks at what it reaches
    "passes",
    "spec",
    "mapping",
    "pipeline",
    "netx",
    "report",  # the bundle writes it
    "bundle",
    "claims",
    "lava",
    "simulate",
    "parity",
    "verify",
)
# The writer asks stock Lava what its loader would make of a weight, to refuse what it would change.
LAVA_OUTSIDE_ITS_FOLDER = {"export.netx.stock": ("lava.lib.dl.netx.utils", "lava.utils.weightutils")}
LAVA_RUNTIME = ("lava.magma", "lava.proc", "lava.utils", "lava.lib.dl.netx")


def modules(package: str) -> dict[str, Path]:
    """Dotted name -> file, of every module of a package."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(source: str, module: str = "", is_package: bool = False) -> set[str]:
    """Absolute dotted names that a source imports, anywhere in it, by statement or by import_module('...')."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                kept = len(parts) - node.level + (1 if is_package else 0)
                base = ".".join([*parts[:kept], *([base] if base else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "import_module",
            "__import__",
        ):
            names |= {arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}
    return names


def imports(package: str) -> dict[str, set[str]]:
    """Module -> what it imports."""
    return {
        name: imports_of(path.read_text(encoding="utf-8"), name, path.name == "__init__.py")
        for name, path in modules(package).items()
    }


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def stage(name: str) -> str:
    """'neuroseg.data.digits' -> 'data'; the package itself -> ''."""
    return ([*name.split("."), ""])[1]


def offences(package: str, forbidden) -> list[str]:
    """'module imports name' for every import that `forbidden(module, name)` names."""
    return [
        f"{module} imports {name}"
        for module, names in imports(package).items()
        for name in sorted(names)
        if forbidden(module, name)
    ]


def is_command(module: str) -> bool:
    return stage(module).startswith("cli") or stage(module) in COMMANDS


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import a.b as c, d", {"a.b", "d"}),
        ("from a.b import c", {"a.b.c"}),
        ("def f():\n    from a import b", {"a.b"}),
        ("from .x import y", {"p.q.x.y"}),
        ("from .. import z", {"p.z"}),
        ("import importlib\nimportlib.import_module('lava.proc')", {"importlib", "lava.proc"}),
    ],
)
def test_the_import_reader_sees_every_kind_of_import(source, found):
    assert imports_of(source, "p.q.m") == found


def test_relative_imports_of_a_package_are_resolved_from_the_package():
    assert imports_of("from .x import y", "p.q", is_package=True) == {"p.q.x.y"}


def test_export_never_imports_neuroseg():
    assert offences("export", lambda module, name: within(name, "neuroseg")) == []


def test_hw_configs_imports_nothing_of_ours():
    assert offences("hw_configs", lambda module, name: within(name, "neuroseg") or within(name, "export")) == []


def test_training_code_imports_nothing_of_export_but_its_errors_files_and_ways_to_compute():
    assert (
        offences(
            "neuroseg",
            lambda module, name: (
                within(name, "export")
                and not within(name, "export.errors")
                and not within(name, "export.files")
                and not within(name, "export.compute")
                and not is_command(module)
            ),
        )
        == []
    )


def test_training_code_never_imports_the_lava_runtime():
    assert offences("neuroseg", lambda module, name: any(within(name, lava) for lava in LAVA_RUNTIME)) == []


def test_only_export_lava_imports_lava():
    def outside(module: str, name: str) -> bool:
        if not within(name, "lava") or stage(module) == "lava":
            return False
        return not any(within(name, allowed) for allowed in LAVA_OUTSIDE_ITS_FOLDER.get(module, ()))

    assert offences("export", outside) == []


def test_every_stage_of_neuroseg_is_in_the_table():
    stages = {stage(name) for name in modules("neuroseg") if not is_command(name)} - {"", "configs"}
    assert stages <= set(NEUROSEG_STAGES), "add the new stage to NEUROSEG_STAGES, where it belongs"


def test_neuroseg_stages_import_only_earlier_ones():
    def backwards(module: str, name: str) -> bool:
        if is_command(module) or not within(name, "neuroseg") or stage(name) not in NEUROSEG_STAGES:
            return within(name, "neuroseg") and is_command(name) and not is_command(module)
        if stage(module) == "":
            return True  # the package itself stays light
        return NEUROSEG_STAGES.index(stage(name)) > NEUROSEG_STAGES.index(stage(module))

    assert offences("neuroseg", backwards) == []


def test_every_stage_of_export_is_in_the_table():
    stages = {stage(name) for name in modules("export")} - {""}
    assert stages <= set(EXPORT_STAGES), "add the new stage to EXPORT_STAGES, where it belongs"


def test_export_stages_import_only_earlier_ones():
    def backwards(module: str, name: str) -> bool:
        if not within(name, "export") or stage(name) not in EXPORT_STAGES:
            return False
        if stage(module) == "":
            return True  # the package itself stays light
        return EXPORT_STAGES.index(stage(name)) > EXPORT_STAGES.index(stage(module))

    assert offences("export", backwards) == []
