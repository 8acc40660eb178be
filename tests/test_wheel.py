"""The wheel works where the checkout is not."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import sysconfig
import zipfile
from typing import TYPE_CHECKING

import pytest

import kb
from tests.conftest import ROOT, article

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("KB_", "PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_its_migrations(wheel: Path) -> None:
    assert wheel.name == f"kb-{kb.__version__}-py3-none-any.whl"
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = {f"kb/{path.relative_to(ROOT / 'kb')}" for path in (ROOT / "kb").rglob("*.py")}
    migrations = {f"kb/{path.relative_to(ROOT)}" for path in (ROOT / "migrations").rglob("*.py")}
    assert migrations
    assert {name for name in inside if name.endswith(".py")} == package | migrations
    assert {name.partition("/")[0] for name in inside} == {"kb"}


def test_an_installed_kb_works_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    install = ["--no-deps", "--no-index", "--disable-pip-version-check", "-q"]
    run(sys.executable, "-m", "pip", "--python", python, "install", *install, wheel, cwd=tmp_path)
    # The dependencies come from the environment that runs the tests; as paths only, so that no .pth file of an
    # editable installation is followed back to the checkout.
    dependencies = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()}
    with open(f"{packages}/dependencies.pth", "w") as file:
        file.write("\n".join(sorted(dependencies)))
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(python, "-c", "import kb; print(kb.__file__)", cwd=empty).startswith(packages)
    command = tmp_path / "venv" / "bin" / "kb"
    assert run(command, "--version", cwd=empty) == f"kb, version {kb.__version__}\n"
    run(command, "init", "--model", "hashing-256", cwd=empty)
    (empty / "in.jsonl").write_text(json.dumps(article("a1")) + "\n" + json.dumps(article("a2", title="Red apples")))
    assert json.loads(run(command, "import", "in.jsonl", cwd=empty))["new"] == 2
    found = [json.loads(line)["id"] for line in run(command, "search", "red apples", cwd=empty).splitlines()]
    assert found == ["a2", "a1"]
    assert run(command, "verify", "--full", "--format", "json", cwd=empty) == "[]\n"
