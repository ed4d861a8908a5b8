"""What a real browser makes of a page: prints a JSON object of what it saw, or ends with the first thing that is wrong.

usage: browser.py URL [--live CHILDREN] [--screenshot FILE] [--dark]
"""

import json
import re
import shutil
import sys
import time

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys


def main():
    arguments = sys.argv[1:]
    url = arguments.pop(0)
    screenshot = arguments[arguments.index("--screenshot") + 1] if "--screenshot" in arguments else None
    dark = "--dark" in arguments
    options = webdriver.ChromeOptions()
    for flag in ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1400,1000"]:
        options.add_argument(flag)
    if dark:
        options.add_argument("--blink-settings=preferredColorScheme=0")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    binary = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
    if binary:
        options.binary_location = binary
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        seen = look(driver, url, arguments)
        if screenshot:
            driver.execute_script("scrollTo(0, 0); document.getElementById('tip').hidden = true")
            height = driver.execute_script("return document.documentElement.scrollHeight")
            driver.set_window_size(1400, min(height, 12000))
            time.sleep(0.3)
            driver.save_screenshot(screenshot)
        print(json.dumps(seen))
    finally:
        driver.quit()


def require(condition, message):
    if not condition:
        raise SystemExit(f"wrong: {message}")


def look(driver, url, arguments):
    run = driver.execute_script
    # The first page of a fresh browser pays for its start.
    driver.get("about:blank")
    began = time.time()
    driver.get(url)
    opened = time.time() - began
    seen = {"title": driver.title, "opened_seconds": round(opened, 3)}
    seen["load_ms"] = round(run("return performance.getEntriesByType('navigation')[0].loadEventEnd"))
    seen["painted_ms"] = round(run("const p = performance.getEntriesByName('first-contentful-paint')[0]; return p ? p.startTime : 0"))

    # Plots: every chart has marks, unless it says that there is nothing to show.
    figures = run("""
        return [...document.querySelectorAll('figure.chart')].map((figure) => ({
            id: figure.id, title: figure.querySelector('h3').textContent,
            empty: figure.textContent.includes('Nothing to show'),
            plots: [...figure.querySelectorAll('.plot svg')].map((svg) => {
                const marks = [...svg.querySelectorAll('path[class]')].filter((path) => path.getAttribute('d').length > 3);
                const box = svg.getBoundingClientRect();
                const inside = marks.filter((mark) => mark.getBBox().width + mark.getBBox().height > 0 || mark.getAttribute('d').includes('h0')).length;
                return {marks: marks.length, inside, width: box.width, ticks: svg.querySelectorAll('text').length};
            }),
            label: [...figure.querySelectorAll('.plot')].every((plot) => plot.getAttribute('aria-label')),
            caption: figure.querySelector('figcaption').textContent.length,
        }))""")
    for figure in figures:
        require(figure["label"] and figure["caption"] > 20, f"{figure['id']} is not described")
        require(figure["empty"] or figure["plots"], f"{figure['id']} has no plot")
        for plot in figure["plots"]:
            require(plot["marks"] > 0 and plot["inside"] > 0, f"{figure['id']} has an empty plot")
            require(plot["ticks"] > 4, f"{figure['id']} has no ticks")
    seen["plots"] = sum(len(figure["plots"]) for figure in figures)
    seen["empty"] = [figure["title"] for figure in figures if figure["empty"]]

    # Drawings of the best networks.
    drawings = run("""
        return [...document.querySelectorAll('.network svg')].map((svg) =>
            ({boxes: svg.querySelectorAll('.en-box').length, width: svg.getBoundingClientRect().width}))""")
    require(drawings and all(one["boxes"] > 2 and one["width"] > 100 for one in drawings), f"drawings: {drawings}")
    seen["drawings"] = len(drawings)

    table(driver, seen)
    keyboard(driver, seen)
    drawn_on_demand(driver, seen)
    pointed_at(driver, seen)
    seen["references"] = run("""
        return [...document.querySelectorAll('[src],[href],[srcset],[action]')]
            .map((e) => e.getAttribute('src') || e.getAttribute('href') || e.getAttribute('srcset') || e.getAttribute('action'))
            .filter((value) => value && !value.startsWith('#') && value !== 'data:,')""")
    require(not seen["references"], f"leads out of the file: {seen['references']}")
    seen["requests"] = run("return performance.getEntriesByType('resource').map((e) => e.name)")
    opened = driver.execute_script("""
        dispatchEvent(new Event('beforeprint'));
        const open = document.querySelectorAll('details:not([open])').length;
        dispatchEvent(new Event('afterprint'));
        return [open, document.querySelectorAll('details[open]').length]""")
    require(opened == [0, 0], f"on paper: {opened}")
    if "--live" in arguments:
        # Whoever appends may begin.
        print("ready", flush=True)
        live(driver, seen, int(arguments[arguments.index("--live") + 1]))
    elif url.startswith("file:"):
        require(not seen["requests"], f"asked for {seen['requests']}")
    # What a hostile name would have done.
    require(run("return window.hostile === undefined"), "a text from outside ran")
    console = [entry for entry in driver.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")]
    require(not console, f"console: {console}")
    return seen


def column(driver, key):
    return driver.execute_script("""
        const place = [...document.querySelectorAll('#table thead th')].findIndex((th) => th.dataset.key === arguments[0]);
        const text = (cell) => (cell.querySelector('code') || cell).textContent;
        return [...document.querySelectorAll('#table tbody tr')].map((row) => text(row.cells[place]))""", key)


def percent(value):
    return f"{100 * value:.2f}%"


def grouped(value):
    return f"{value:,}"


def number(text):
    return float(text.replace(",", "").rstrip("%"))


def click(driver, selector):
    element = driver.find_element(By.CSS_SELECTOR, selector)
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def fill(driver, selector, text):
    element = driver.find_element(By.CSS_SELECTOR, selector)
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.clear()
    element.send_keys(text)


def shown(driver):
    text = driver.find_element(By.ID, "shown").text
    found, _, total = text.split(" ")[0], None, text.split(" of ")[1].split(" ")[0]
    return int(found.replace(",", "")), int(total.replace(",", ""))


def choose(driver, selector, value):
    driver.execute_script("""
        const select = document.querySelector(arguments[0]);
        select.value = arguments[1];
        select.dispatchEvent(new Event('input', {bubbles: true}));
        select.dispatchEvent(new Event('change', {bubbles: true}))""", selector, value)


def table(driver, seen):
    run = driver.execute_script
    rows = json.loads(run("return document.getElementById('rows').textContent"))
    found, total = shown(driver)
    require(found == total >= len(rows) > 0, f"{found} of {total} rows shown of {len(rows)}")
    seen["children"] = total
    choose(driver, "#size", "500")

    # Sorting by numbers and by text, both ways.
    header = "#table th[data-key=estimate]"
    began = time.time()
    click(driver, header + " button")
    seen["sort_seconds"] = round(time.time() - began, 3)
    measured = [number(text) for text in column(driver, "estimate") if text.endswith("%")]
    best = max(row["estimate"] for row in rows if row["estimate"] is not None)
    require(measured == sorted(measured, reverse=True), "estimates do not descend")
    require(abs(measured[0] - 100 * best) < 0.006, f"the first is {measured[0]}, the best {best}")
    require(run(f"return document.querySelector('{header}').getAttribute('aria-sort')") == "descending", "aria-sort")
    click(driver, header + " button")
    measured = [number(text) for text in column(driver, "estimate") if text.endswith("%")]
    require(measured == sorted(measured), "estimates do not ascend")
    click(driver, "#table th[data-key=arch] button")
    require(run("return document.querySelector('#table th[data-key=arch]').getAttribute('aria-sort')") == "ascending", "aria-sort of text")
    names = column(driver, "arch")
    collated = run("return [...arguments[0]].sort((a, b) => a.localeCompare(b))", names)
    require(len(names) > 1 and names == collated, "networks do not ascend")
    # What is missing comes last in either direction.
    if any(row["predicted"] is None for row in rows):
        for _ in range(2):
            click(driver, "#table th[data-key=predicted] button")
            found = [bool(text) for text in column(driver, "predicted")]
            require(found == sorted(found, reverse=True), "rows without a prediction are not last")
    click(driver, "#table th[data-key=index] button")
    require(run("return document.querySelector('#table th[data-key=index]').getAttribute('aria-sort')") == "ascending", "children in order first")
    require(len(column(driver, "index")) == min(total, 500), "as many rows as were asked for")

    # Every column says what the data do.
    written = {"index": str, "iteration": str, "step": str, "origin": str, "arch": str,
               "estimate": percent, "predicted": percent, "params": grouped, "macs": grouped,
               "seconds": lambda value: f"{value:.1f}", "probability": lambda value: f"{value:.3g}"}
    byid = {row["id"]: row for row in rows}
    ids = run("return [...document.querySelectorAll('#table tbody tr')].map((row) => row.dataset.child)")
    for key, write in written.items():
        for id, text in zip(ids, column(driver, key)):
            value = byid[id][key] if id in byid else None
            if id in byid and not (key == "estimate" and byid[id].get("failed")):
                ours = "" if value is None else write(value)
                close = key in ("estimate", "predicted", "seconds", "probability") and ours and text and (
                    abs(number(ours) - number(text)) < (1e-2 * number(ours) if key == "probability" else 0.11))
                require(text == ours or close, f"{key} of {id} is {text}, expected {ours}")

    # Filters, alone and together.
    for key, selector in [("origin", "#filter-origin"), ("iteration", "#filter-iteration"), ("run", "#filter-run")]:
        if run(f"return document.querySelector('{selector}') === null"):
            continue
        values = run(f"return [...document.querySelector('{selector}').options].map((option) => option.value)")
        require(set(values[1:]) == {str(row[key]) for row in rows}, f"choices of {key}: {values}")
        choose(driver, selector, values[-1])
        expected = sum(1 for row in rows if str(row[key]) == values[-1])
        require(shown(driver)[0] == expected, f"{shown(driver)} with {key} {values[-1]}, expected {expected}")
        choose(driver, selector, "")
    part = rows[-1]["arch"].split(":")[1].split("/")[0]
    fill(driver, "#filter-arch", part)
    expected = [row for row in rows if part in row["arch"]]
    require(shown(driver)[0] == len(expected), f"{shown(driver)} with {part}, expected {len(expected)}")
    require(all(part in text for text in column(driver, "arch")), "a row without what was looked for")
    step = str(rows[-1]["step"])
    choose(driver, "#filter-step", step)
    expected = [row for row in expected if str(row["step"]) == step]
    require(shown(driver)[0] == len(expected), "two filters together")
    fill(driver, "#filter-least", "50")
    expected = [row for row in expected if row["estimate"] is not None and row["estimate"] >= 0.5]
    require(shown(driver)[0] == len(expected), "three filters together")
    click(driver, "#filters button[type=reset]")
    time.sleep(0.1)
    require(shown(driver)[0] == total, "cleared filters")
    failed = sum(1 for row in rows if row.get("failed"))
    choose(driver, "#filter-state", "failed")
    require(shown(driver)[0] == failed, f"{shown(driver)} failed, expected {failed}")
    if failed:
        reasons = {row["failed"] for row in rows if row.get("failed")}
        require(all(text.removeprefix("failed: ") in reasons for text in column(driver, "estimate")), "reasons")
    click(driver, "#filters button[type=reset]")
    time.sleep(0.1)

    # Pages of the table reach every child.
    choose(driver, "#size", "25")
    names = set()
    while True:
        names.update(run("return [...document.querySelectorAll('#table tbody tr')].map((row) => row.dataset.child)"))
        if not driver.find_element(By.ID, "next").is_enabled():
            break
        click(driver, "#next")
        if len(names) >= 300 and total > 300:
            break
    require(len(names) >= min(total, 300), f"{len(names)} children on the pages")
    if total > 300:
        choose(driver, "#size", "500")
        for _ in range(total // 500 + 1):
            if driver.find_element(By.ID, "next").is_enabled():
                click(driver, "#next")
        last = run("return document.getElementById('place').textContent")
        require(last.replace(",", "").endswith(f"to {total} of {total}"), f"the last page is {last}")
        choose(driver, "#size", "25")


def keyboard(driver, seen):
    """Sort by Tab and Enter alone."""
    run = driver.execute_script
    run("document.querySelector('#filter-least').focus()")
    for _ in range(40):
        driver.switch_to.active_element.send_keys(Keys.TAB)
        if run("return document.activeElement.closest('th[data-key=params]') !== null"):
            break
    require(run("return document.activeElement.closest('th[data-key=params]') !== null"), "Tab does not reach the headers")
    driver.switch_to.active_element.send_keys(Keys.ENTER)
    sizes = [number(text) for text in column(driver, "params") if text]
    require(sizes == sorted(sizes, reverse=True), "Enter does not sort")
    for _ in range(20):
        driver.switch_to.active_element.send_keys(Keys.TAB)
        if run("return document.activeElement.closest('td.net') !== null"):
            break
    driver.switch_to.active_element.send_keys(Keys.ENTER)
    time.sleep(0.4)
    require(run("return document.getElementById('drawing').open"), "Enter does not draw")
    driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    require(not run("return document.getElementById('drawing').open"), "Escape does not close")
    seen["keyboard"] = True


def drawn_on_demand(driver, seen):
    run = driver.execute_script
    for place in ("first-child", "last-child"):
        click(driver, f"#table tbody tr:{place} td.net button")
        for _ in range(40):
            boxes = run("return document.querySelectorAll('#drawing-picture svg .en-box').length")
            if boxes:
                break
            time.sleep(0.1)
        text = run("return document.querySelector('#drawing-picture svg title').textContent")
        wanted = run(f"return document.querySelector('#table tbody tr:{place} code').textContent")
        require(boxes > 2 and text == wanted, f"drew {text} ({boxes} boxes), expected {wanted}")
        place = run(f"return document.querySelector('#table tbody tr:{place}').dataset.child")
        heading = run("return document.getElementById('drawing-title').textContent")
        require(f"Child {re.sub('^[0-9]+[sr]', '', place)} " in heading, f"{heading} over the drawing of {place}")
        click(driver, "#drawing form button")
    # A strip has a square for each operation, and an arc for each source but the one before.
    strips = run("""
        return [...document.querySelectorAll('#table td.net')].map((cell) => ({
            arch: cell.querySelector('code').textContent,
            squares: [...cell.querySelectorAll('.strip text')].map((text) => text.textContent).join(' '),
            arcs: cell.querySelectorAll('.strip path').length}))""")
    for strip in strips:
        kind, body = strip["arch"].split(":")
        parts = [part for layer in body.split("/") for part in (layer.split("+") if kind == "micro" else [layer])]
        require(strip["squares"] == " ".join(part.split(".")[0] for part in parts), f"strip {strip}")
        arcs = 0 if kind == "micro" else sum(
            int(source) != place for place, part in enumerate(parts) for source in part.split(".")[1].split("+"))
        require(strip["arcs"] == arcs, f"{arcs} arcs in {strip}")
    seen["strips"] = len(strips)


def pointed_at(driver, seen):
    """The pointer over a point tells of its child, and a click draws it."""
    name, told = driver.execute_script("""
        const path = document.querySelector('.plot path[data-children]');
        const svg = path.closest('svg');
        svg.scrollIntoView({block: 'center'});
        const points = [...path.getAttribute('d').matchAll(/M(-?\\d+) (-?\\d+)h0/g)].map((m) => [Number(m[1]), Number(m[2])]);
        // The last point that no other hides.
        const all = [...svg.querySelectorAll('path[data-children]')].flatMap((one) =>
            [...one.getAttribute('d').matchAll(/M(-?\\d+) (-?\\d+)h0/g)].map((m) => [Number(m[1]), Number(m[2])]));
        const alone = (p) => all.filter((q) => q[0] === p[0] && q[1] === p[1]).length === 1;
        const place = points.findLastIndex(alone);
        const [x, y] = points[place];
        const box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width;
        svg.dispatchEvent(new PointerEvent('pointermove',
            {bubbles: true, clientX: box.left + x * scale, clientY: box.top + y * scale}));
        const tip = document.getElementById('tip');
        const told = tip.hidden ? '' : tip.textContent;
        const isText = tip.children.length === 0;
        svg.dispatchEvent(new MouseEvent('click',
            {bubbles: true, clientX: box.left + x * scale, clientY: box.top + y * scale}));
        return [path.dataset.children.split(' ')[place], isText ? told : 'markup']""")
    rows = json.loads(driver.execute_script("return document.getElementById('rows').textContent"))
    row = next((row for row in rows if row["id"] == name), None)
    require(row and row["arch"] in told and f"step {row['step']}" in told and f"child {row['index']}," in told, f"told of {name}: {told}")
    time.sleep(0.4)
    drawn = driver.execute_script("""
        const title = document.querySelector('#drawing-picture svg title');
        document.getElementById('drawing').close();
        return title ? title.textContent : ''""")
    require(drawn == row["arch"], f"a click on {row['arch']} drew {drawn}")
    seen["told"] = told.split("\n")[0]


def live(driver, seen, expected):
    """Children that come after the page was opened."""
    until = time.time() + 30
    while time.time() < until and shown(driver)[1] < expected:
        time.sleep(0.2)
    require(shown(driver)[1] == expected, f"{shown(driver)} came, expected {expected}")
    require(driver.find_element(By.ID, "connection").get_attribute("class") == "live", "not connected")
    until = time.time() + 15
    def told():
        caption = driver.execute_script("return document.querySelector('#figure-0-sampled figcaption').textContent")
        return f"in the order of training, {expected} in" in caption
    while time.time() < until and not told():
        time.sleep(0.3)
    require(told(), "the figures do not follow")
    seen["followed"] = expected


main()
