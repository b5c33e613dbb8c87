"""Logs as `footfall logs` shows them."""

from pathlib import Path

from infra.local.log_files import LogFollower, last_lines


def test_the_last_lines_are_shown_and_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert last_lines(log, 2) == []
    log.write_text("one\ntwo\nthree\n")
    assert last_lines(log, 2) == ["two", "three"]


def test_a_follower_gives_each_line_once_and_only_whole_ones(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("old\n")
    follower = LogFollower.from_end(log)
    with log.open("a") as file:
        file.write("one\ntw")
    assert list(follower.new_lines()) == ["one"]
    with log.open("a") as file:
        file.write("o\n")
    assert list(follower.new_lines()) == ["two"]
    assert list(follower.new_lines()) == []


def test_a_follower_waits_for_a_log_that_is_not_there_yet(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    follower = LogFollower.from_end(log)
    assert list(follower.new_lines()) == []
    log.write_text("first\n")
    assert list(follower.new_lines()) == ["first"]
