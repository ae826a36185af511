"""Files are whole or not there."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from lmmformula.files import whole_file


def test_a_file_appears_whole_and_keeps_its_permissions(tmp_path: Path) -> None:
    target = tmp_path / "a.csv.gz"
    with whole_file(target) as file:
        assert file.name.endswith(".csv.gz")
        file.write_text("new", encoding="utf-8")
        assert not target.exists()
    assert target.read_text(encoding="utf-8") == "new"
    target.chmod(0o640)
    with whole_file(target) as file:
        file.write_text("newer", encoding="utf-8")
        assert target.read_text(encoding="utf-8") == "new"
    assert (target.read_text(encoding="utf-8"), stat.S_IMODE(target.stat().st_mode)) == ("newer", 0o640)
    assert os.listdir(tmp_path) == ["a.csv.gz"]


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("", encoding="utf-8")
    with whole_file(tmp_path / "ours") as file:
        file.write_text("", encoding="utf-8")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_fails_leaves_everything_as_it_was(tmp_path: Path, failure: BaseException) -> None:
    target = tmp_path / "kept"
    target.write_text("old", encoding="utf-8")

    def write() -> None:
        with whole_file(target) as file:
            file.write_text("half", encoding="utf-8")
            raise failure

    with pytest.raises(type(failure)):
        write()
    assert target.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["kept"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old", encoding="utf-8")
    (tmp_path / "link").symlink_to("real")
    with whole_file(tmp_path / "link") as file:
        file.write_text("new", encoding="utf-8")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text(encoding="utf-8") == "new"


@pytest.mark.skipif(sys.platform == "win32", reason="no such device")
def test_a_device_is_written_directly() -> None:
    with whole_file("/dev/null") as file:
        assert file == Path("/dev/null")


def test_no_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "none" / "a"):
        pass
