"""Every Python block of the documentation runs, top to bottom of each page, in one namespace a page and its Chinese twin."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TASKS = [ROOT / "docs/tasks.md", ROOT / "docs/tasks.zh-CN.md", *(ROOT / "docs/tasks").glob("*.md")]
PAGES = sorted({*ROOT.glob("README*.md"), *(ROOT / "docs").glob("*.md"), *TASKS})
TWINS = [p for p in TASKS if ".zh-CN" in p.name]  # pages whose code is that of the English ones to the word


PROMISE = r"^(print\(.*\))  # (True|False|\([\d, ]*\)|\[[\d., ]*\]|-?\d+(?:\.\d+)?)$"


def blocks(path):
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.S)


def checked(path):
    """The blocks of a page with what they promise: a value in the comment behind a print is what it prints; words are words."""
    return [re.sub(PROMISE, r"\1; promised('\2')", block, flags=re.M) for block in blocks(path)]


def syntax(block):
    return ast.dump(ast.parse(block))  # without comments


@pytest.mark.parametrize("path", [p for p in PAGES if ".zh-CN" not in p.name], ids=lambda p: p.name)
def test_the_page_runs(path, tmp_path, monkeypatch, request):
    code, chinese = checked(path), checked(path.with_suffix(".zh-CN.md"))
    assert len(code) == len(chinese)
    if any("mnist" in block for block in code):
        request.getfixturevalue("data_folder")
    else:  # many small networks, each trained for a moment
        request.getfixturevalue("quick_programs")
    monkeypatch.chdir(tmp_path)
    printed: list[str] = []

    def show(*values):
        printed.append(" ".join(map(str, values)))

    def promised(text):
        assert printed[-1] == text, f"{path.name} promises {text}, but {printed[-1]} was printed"

    names: dict = {"__name__": "__main__", "print": show, "promised": promised}
    for number, pair in enumerate(zip(code, chinese, strict=True), 1):
        # What the Chinese page says in other words runs there as well, after what it stands for.
        for block in pair if syntax(pair[0]) != syntax(pair[1]) else pair[:1]:
            exec(compile(block, f"{path.name}, block {number}", "exec"), names)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("page", [p for p in PAGES if ".zh-CN" not in p.name], ids=lambda p: p.name)
def test_every_page_exists_in_chinese(page):
    assert page.with_suffix(".zh-CN.md").exists()


@pytest.mark.parametrize("path", TWINS, ids=lambda p: p.name)
def test_the_chinese_page_has_the_same_code(path):
    english = path.with_name(path.name.replace(".zh-CN", ""))
    assert [*map(syntax, blocks(path))] == [*map(syntax, blocks(english))]


def test_no_path_of_a_machine_in_what_we_ship():
    for path in PAGES:
        assert not re.search(r"(?<![\w.])/(work|home|root)/", path.read_text(encoding="utf-8")), path
