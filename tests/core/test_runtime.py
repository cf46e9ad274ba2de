"""Settings of JAX on import, in fresh processes: where compiled programs are kept, and whose wish comes first."""

import os
import subprocess
import sys
import time

import jax
import pytest

from cenote.core import runtime

TELL = "import cenote.core, jax; jax.jit(lambda x: x * 2 + 1)(3.0); print(jax.config.jax_compilation_cache_dir)"


def folder_of(tmp_path, **settings):
    """Where a fresh process keeps its programs, after it made one."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "CENOTE_"))}
    env = kept | {"XDG_CACHE_HOME": str(tmp_path / "cache")} | settings
    return subprocess.run([sys.executable, "-c", TELL], env=env, capture_output=True, text=True, check=True).stdout.strip()


def programs(folder):
    return sorted(f for f in os.listdir(folder) if f.startswith("jit_"))


def test_programs_are_kept_in_the_users_cache_and_found_by_the_next_process(tmp_path):
    folder = folder_of(tmp_path)
    assert folder.startswith(str(tmp_path / "cache" / "cenote" / "compiled"))
    names = programs(folder)
    assert names
    assert folder_of(tmp_path) == folder and programs(folder) == names


def test_what_the_user_set_for_jax_stays(tmp_path):
    assert folder_of(tmp_path, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "jax")) == str(tmp_path / "jax")


@pytest.fixture
def configured(monkeypatch):
    """What `configure`, which importing calls, makes of a folder that was set before and of the variable."""
    least = (f"jax_persistent_cache_min_{name}" for name in ("compile_time_secs", "entry_size_bytes"))
    before = {name: getattr(jax.config, name) for name in ("jax_compilation_cache_dir", *least)}

    def configure(variable, folder=None):
        monkeypatch.setenv("CENOTE_COMPILATION_CACHE", str(variable))
        jax.config.update("jax_compilation_cache_dir", folder)
        runtime.configure()
        return jax.config.jax_compilation_cache_dir

    yield configure
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_variable_names_another_folder_or_none(configured, tmp_path):
    assert configured(tmp_path / "mine").startswith(str(tmp_path / "mine"))
    assert configured("0") is None
    assert configured(tmp_path / "mine", "/somewhere") == "/somewhere"


def test_a_folder_that_cannot_be_made_is_no_reason_to_fail(configured, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert configured(tmp_path / "file" / "below") is None


def test_old_programs_are_deleted_first_and_only_once_a_day(tmp_path):
    now = time.time()
    for age in range(5):
        (tmp_path / f"program{age}").write_bytes(b"x" * 100)
        os.utime(tmp_path / f"program{age}", (now - 1000 * age - 1000,) * 2)
    runtime.trim(tmp_path, 250)
    assert sorted(p.name for p in tmp_path.glob("program*")) == ["program0", "program1"]
    (tmp_path / "program9").write_bytes(b"x" * 1000)
    runtime.trim(tmp_path, 250)
    assert (tmp_path / "program9").exists()


def test_the_home_of_what_can_be_made_again(monkeypatch, tmp_path):
    monkeypatch.setenv("CENOTE_HOME", str(tmp_path))
    assert runtime.cache_home() == tmp_path
    monkeypatch.delenv("CENOTE_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "~/elsewhere")
    assert runtime.cache_home() == runtime.Path("~/elsewhere/cenote").expanduser()


@pytest.mark.parametrize("platform", ["one", "two"])
def test_machines_of_other_kinds_do_not_share_programs(monkeypatch, platform):
    monkeypatch.setattr(runtime.platform, "processor", lambda: platform)
    names = {runtime.machine()}
    monkeypatch.setattr(runtime.platform, "processor", lambda: "other")
    assert len(names | {runtime.machine()}) == 2
