"""The book and JupyterLab as a reader meets them: in a browser, the one that is installed. None is ever downloaded."""

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

import nbformat
import pytest
from nbformat.v4 import new_code_cell

from cifar_utils.course import browser, chapters, vendor

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
AXE = vendor.Package(
    "axe-core",
    "4.14.0",
    "2277b0a3ef47af9b52497faa3e71598e86e0a0e5e6eb295207a5657ede4709af",
    ("axe.min.js", "LICENSE"),
    without="accessibility is not tested",
)
# Bytes of a page with all that it loads, uncompressed. Of them 2.3 million are the theme, 2.3 formulas, 2.7 diagrams.
BUDGET = 10_000_000
LOOKS = [("light", browser.WIDE), ("light", browser.NARROW), ("dark", browser.NARROW), ("dark", browser.WIDE)]
# All rules on the wide page; what the colours and the width can change again in the other look.
AXE_RULES = {LOOKS[0]: None, LOOKS[2]: ["color-contrast", "scrollable-region-focusable", "target-size"]}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.find() is None, reason="no Chromium or Chrome is installed"),
]


@dataclass
class Visit:
    """What was seen on one page."""

    errors: list[str] = field(default_factory=list)  # of the console and of requests
    problems: list[str] = field(default_factory=list)  # of what is drawn, in each look
    accessibility: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    links: set[str] = field(default_factory=set)
    weight: int = 0


SEEN = """() => {
  const bad = (selector, good) => [...document.querySelectorAll(selector)].filter((one) => !good(one));
  return {
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    images: bad("img", (image) => !image.checkVisibility() || image.naturalWidth).map((image) => image.src),
    formulas: bad(".math", (math) => math.querySelector("mjx-container svg")).map((math) => math.textContent),
    diagrams: bad("pre.mermaid", (place) => place.querySelector("svg")?.getBoundingClientRect().height > 20)
      .map((place) => place.textContent),
  };
}"""
FOUND = """() => ({
  ids: [...document.querySelectorAll("[id]")].map((element) => element.id),
  links: [...document.querySelectorAll("a[href]")].map((link) => link.href),
})"""


@pytest.fixture(scope="module")
def chrome():
    with browser.chromium() as running:
        yield running


def fresh(chrome, **options):
    """A tab of a reader who has never been here."""
    page = chrome.new_context(**options).new_page()
    page.set_default_timeout(120_000)  # for a machine that is busy
    return page


@pytest.fixture(scope="module")
def address(built_book):
    with browser.served(built_book) as here:
        yield here


@pytest.fixture(scope="module")
def axe():
    """The source of axe-core, or nothing where it cannot be fetched."""
    paths = vendor.fetch(ROOT / "_build" / "test-vendor", packages=(AXE,))
    return paths[0].read_text(encoding="utf-8") if paths else ""


@pytest.fixture(scope="module")
def page(chrome):
    tab = fresh(chrome)
    yield tab
    tab.context.close()


def listen(page, start):
    """Lists that fill with what goes wrong on `page`, requests to elsewhere among it, and with what it asks `start`."""
    own = (start, "data:", "blob:")
    errors, asked = [], []
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    # A page that is left cancels what it still waits for; a file that is missing fails by another name.
    page.on("requestfailed", lambda request: None if request.failure == "net::ERR_ABORTED" else errors.append(
        f"failed: {request.url}"))
    page.on("response", lambda got: errors.append(f"{got.status}: {got.url}") if got.status >= 400 else None)
    page.on("request", lambda request: (asked if request.url.startswith(own) else errors).append(request.url))
    return errors, asked


def drawn(page):
    """What is not drawn as it should be, and how far the page is wider than the window."""
    seen = page.evaluate(SEEN)
    problems = [f"wider than the window by {seen['wide']} pixels"] if seen["wide"] > 0 else []
    kinds = ("images", "formulas", "diagrams")
    return problems + [f"{kind} not drawn: {one[:200]}" for kind in kinds for one in seen[kind]]


@pytest.fixture(scope="module")
def visits(chrome, built_book, address, axe):
    """Every page, opened once, and looked at in light and dark, wide and narrow."""
    page = fresh(chrome)
    errors, asked = listen(page, address)
    found = {}
    for name in browser.pages(built_book):
        errors.clear()
        asked.clear()
        page.goto(f"{address}/{name}")
        browser.wait_until_drawn(page)
        if axe:
            page.evaluate(axe)
        facts = page.evaluate(FOUND)
        visit = found[name] = Visit(ids=set(facts["ids"]), links=set(facts["links"]))
        files = {unquote(urlsplit(url).path).lstrip("/") for url in asked if url.startswith(address)}
        visit.weight = sum((built_book / file).stat().st_size for file in files if (built_book / file).is_file())
        for theme, width in LOOKS:
            browser.show_in(page, theme, width)
            visit.problems += [f"{theme}, {width}: {problem}" for problem in drawn(page)]
            if axe and (theme, width) in AXE_RULES:
                found_here = violations(page, AXE_RULES[theme, width])
                visit.accessibility += [f"{theme}, {width}: {violation}" for violation in found_here]
        visit.errors = list(errors)
    page.context.close()
    return found


def violations(page, rules):
    """What axe finds serious or critical, by all of its rules or those that are named."""
    page.evaluate(SETTLED)  # a moment after the window's size changes the theme looks again at what scrolls
    options = {"resultTypes": ["violations"], "preload": False, **({"runOnly": rules} if rules else {})}
    for violation in page.evaluate("options => axe.run(document, options)", options)["violations"]:
        if violation["impact"] in ("serious", "critical"):
            yield f"{violation['id']} ({len(violation['nodes'])} times): {violation['nodes'][0]['html'][:300]}"


def all_of(visits, kind):
    """What was noted of one kind, on all pages."""
    return [f"{name}: {one}" for name, visit in visits.items() for one in getattr(visit, kind)]


def test_every_chapter_was_visited(visits):
    assert {f"notebooks/{path.stem}.html" for path in NOTEBOOKS} <= set(visits)


def test_no_page_has_an_error_or_asks_another_host(visits):
    assert all_of(visits, "errors") == []


def test_everything_is_drawn_and_no_page_scrolls_sideways_in_any_look(visits):
    assert all_of(visits, "problems") == []


def test_axe_finds_nothing_serious(visits, axe):
    if not axe:
        pytest.skip("axe-core could not be fetched")
    assert all_of(visits, "accessibility") == []


def test_no_page_is_heavier_than_the_budget(visits):
    assert {name: visit.weight for name, visit in visits.items() if visit.weight > BUDGET} == {}
    assert min(visit.weight for visit in visits.values()) > 500_000, "the theme alone weighs more: nothing was counted"


def test_internal_links_and_their_anchors_hold(visits, built_book, address):
    broken = []
    for name, visit in visits.items():
        for link in visit.links:
            if not link.startswith(address):
                continue
            parts = urlsplit(link)
            target = unquote(parts.path).lstrip("/") or "index.html"
            anchor = unquote(parts.fragment)
            if not (built_book / target).is_file():
                broken.append(f"{name}: no file {target}")
            elif anchor and target in visits and anchor not in visits[target].ids:
                broken.append(f"{name}: no place #{anchor} in {target}")
    assert broken == []


def test_opened_from_disk_every_page_is_as_whole(page, built_book):
    errors, _ = listen(page, built_book.as_uri())
    seen = []
    for name in browser.pages(built_book):
        page.goto((built_book / name).as_uri())
        browser.wait_until_drawn(page)
        seen += [f"{name}: {problem}" for problem in [*errors, *drawn(page)]]
        errors.clear()
    assert seen == []


def test_the_first_page_leads_to_the_start(page, address):
    page.goto(address)
    page.wait_for_url("**/book/index.html")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_search_finds_a_word_of_the_chapters_title(page, address, path):
    title = nbformat.read(path, as_version=4).cells[0].source.splitlines()[0]
    word = max(re.findall(r"[a-z]+", title.lower()), key=len)
    page.goto(f"{address}/search.html?q={word}")
    page.wait_for_selector(f'#search-results a[href*="notebooks/{path.stem}.html"]')


# ------------------------------------------------------------------------------------------- what answers the reader


def prompts(path):
    """How many predictions a chapter asks for, going by its source alone."""
    texts = ["".join(cell.source) for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    asked = [re.split(r"(?m)^(?:#+ |\*\*|```\{admonition\} |:::\{admonition\} )Predict", text)[1:] for text in texts]
    answered = re.compile(r"(?:\(a\)|^[-*\s]*A[.)])\s.*(?:\(b\)|^[-*\s]*B[.)])\s", re.DOTALL | re.MULTILINE)
    return sum(bool(answered.search(part)) for parts in asked for part in parts)


def test_every_prediction_in_the_notebooks_can_be_made(page, address):
    for path in NOTEBOOKS:
        page.goto(f"{address}/notebooks/{path.stem}.html")
        legends = page.locator("fieldset.predict > legend").all_inner_texts()
        assert legends.count("Your prediction") == prompts(path), path.stem
        text = page.locator("fieldset.predict label").all_inner_texts()
        assert all(len(one.strip()) > 4 and not re.search(r"\([b-h]\)\s.*\([b-h]\)", one) for one in text), path.stem


def test_a_prediction_is_made_by_keyboard_remembered_and_shown_beside_the_result(page, address):
    name = next(path.stem for path in NOTEBOOKS if prompts(path))
    page.goto(f"{address}/notebooks/{name}.html")
    choices = page.locator("fieldset.predict").first.locator("input")
    choices.first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    assert choices.nth(1).is_checked() and not choices.first.is_checked()
    page.reload()
    assert choices.nth(1).is_checked()
    fold = page.locator("details:has(> .predict-recall)").first
    assert not fold.locator(".predict-recall").is_visible()
    fold.locator("summary").first.focus()
    page.keyboard.press("Enter")
    answer = page.locator("fieldset.predict").first.locator("label").nth(1).inner_text().strip()
    said = fold.locator(".predict-recall").inner_text()
    assert said.startswith("You predicted: (b)") and answer.removeprefix("(b)").strip() in said
    page.keyboard.press("Enter")
    assert not fold.locator(".predict-recall").is_visible()


def test_a_browser_that_denies_its_storage_still_takes_predictions(chrome, address):
    page = fresh(chrome)
    deny = "Storage.prototype.getItem = Storage.prototype.setItem = () => { throw new DOMException('denied'); };"
    name = next(path.stem for path in NOTEBOOKS if prompts(path))
    page.add_init_script(deny)
    page.goto(f"{address}/notebooks/{name}.html")
    page.locator("fieldset.predict input").nth(1).check()
    assert page.locator(".predict-recall").first.text_content().startswith("You predicted: (b)")
    page.context.close()


def quizzes(built_book):
    """The chapters of the book that have a quiz."""
    named = sorted(path.stem for path in (ROOT / "book" / "quizzes").glob("*.yml"))
    return [name for name in named if (built_book / "notebooks" / f"{name}.html").is_file()]


def test_every_answer_of_every_quiz_is_judged_and_explained_by_keyboard(page, address, built_book):
    assert quizzes(built_book)
    for name in quizzes(built_book):
        page.goto(f"{address}/notebooks/{name}.html")
        for quiz in page.locator("fieldset.quiz").all():
            check, answers = quiz.get_by_role("button", name="Check"), quiz.locator("input")
            check.focus()
            page.keyboard.press("Enter")
            assert quiz.locator("[aria-live]").inner_text() == "Choose an answer first."
            for number in range(answers.count()):
                answers.nth(number).focus()
                page.keyboard.press("Space")
                check.focus()
                page.keyboard.press("Enter")
                right = answers.nth(number).get_attribute("data-right") is not None
                said = quiz.locator("[aria-live]").inner_text()
                assert said.startswith("Right." if right else "Wrong.") and len(said) > len("Wrong. no"), said
                assert quiz.locator("details").first.is_visible() <= right


def test_without_scripts_a_quiz_is_read_in_folds(chrome, address, built_book):
    page = fresh(chrome, java_script_enabled=False)
    page.goto(f"{address}/notebooks/{quizzes(built_book)[0]}.html")
    fold = page.locator("fieldset.quiz details").first
    assert not fold.locator(".quiz-why").is_visible()
    fold.locator("summary").click()
    assert re.match(r"Right\.|Wrong\.", fold.locator(".quiz-why").inner_text())
    page.context.close()


def test_a_fold_with_code_opens_by_keyboard(page, address):
    page.goto(f"{address}/notebooks/{NOTEBOOKS[0].stem}.html")
    fold = page.locator("details.hide").first
    code = fold.locator("div.highlight").first
    assert not code.is_visible()
    fold.locator("summary").focus()
    page.keyboard.press("Enter")
    assert code.is_visible()


def test_a_notebook_can_be_downloaded(page, address):
    page.goto(f"{address}/notebooks/{NOTEBOOKS[0].stem}.html")
    link = page.locator("a.btn-download-source-button").first.get_attribute("href")
    with urlopen(f"{address}/notebooks/{link}") as answer:
        assert nbformat.reads(answer.read().decode(), as_version=4).cells


# ------------------------------------------------------------------------------------------------------- JupyterLab


SETTLED = """() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(
  () => setTimeout(done, 500))))"""
READY = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
RUN_ALL = """async () => {
  const app = window.jupyterapp;
  const panel = app.shell.currentWidget;
  await app.commands.execute("notebook:run-all-cells");
  return JSON.stringify(panel.content.model.toJSON());
}"""


@pytest.mark.real_data
def test_a_chapter_runs_in_jupyterlab_from_its_first_cell_to_its_last(chrome, tmp_path):
    path = NOTEBOOKS[0]
    given = chapters.load_profile(ROOT, "smoke")[path.stem]
    smoke = nbformat.read(path, as_version=4)
    for cell in smoke.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    tags = [cell.metadata.get("tags", []) for cell in smoke.cells]
    after = next(number for number, named in enumerate(tags, start=1) if "parameters" in named)
    smoke.cells.insert(after, new_code_cell("\n".join(f"{name} = {value!r}" for name, value in given.items())))
    (tmp_path / "notebooks").mkdir()
    nbformat.write(smoke, tmp_path / "notebooks" / path.name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex()
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", f"--port={port}", "--ServerApp.port_retries=0",
               f"--IdentityProvider.token={token}", "--LabApp.expose_app_in_browser=True", "--allow-root",
               f"--ServerApp.root_dir={tmp_path / 'notebooks'}"]
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "CIFAR_COURSE_RUN")
    own = {name: str(tmp_path / name) for name in places}
    environment = {**os.environ, **own, "PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1", "JUPYTER_PREFER_ENV_PATH": "1"}
    with (tmp_path / "lab.log").open("w") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        page = fresh(chrome)
        open_when_ready(page, f"http://127.0.0.1:{port}/lab/tree/{path.name}?token={token}", server)
        page.wait_for_function(READY, timeout=120_000)
        done = nbformat.from_dict(json.loads(page.evaluate(RUN_ALL)))
        page.context.close()
    finally:
        server.terminate()
        try:
            server.wait(timeout=90)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    cells = [cell for cell in done.cells if cell.cell_type == "code"]
    wrong = [f"{out.ename}: {out.evalue}" for cell in cells for out in cell.outputs if out.output_type == "error"]
    assert wrong == []
    assert all(cell.execution_count for cell in cells)


def open_when_ready(page, url, server):
    """Open the page as soon as the server answers; fail when it ends or takes more than three minutes."""
    for _ in range(360):
        assert server.poll() is None, "JupyterLab has ended"
        try:
            page.goto(url)
            return
        except Exception as error:
            if "ERR_CONNECTION_REFUSED" not in str(error):
                raise
            time.sleep(0.5)
    pytest.fail("JupyterLab did not answer for three minutes")
