"use strict";
// The page's own script: the table of children, what a plot says of the point under the pointer, drawings on demand and,
// where the page follows a run, what comes new. Texts reach the page as text, never as markup.
(() => {
  const $ = (id) => document.getElementById(id);
  const isLive = document.body.dataset.state !== undefined;
  const rows = JSON.parse($("rows").textContent);
  const byId = new Map(rows.map((row) => [row.id, row]));

  // --- numbers in words
  const percent = (value) => (value == null ? "" : (100 * value).toFixed(2) + "%");
  const count = (value) => (value == null ? "" : value.toLocaleString("en"));
  const written = {
    estimate: (row) => (row.failed ? "failed: " + row.failed : percent(row.estimate)),
    predicted: (row) => percent(row.predicted),
    probability: (row) => (row.probability == null ? "" : row.probability.toPrecision(3)),
    params: (row) => count(row.params),
    macs: (row) => count(row.macs),
    seconds: (row) => row.seconds.toFixed(1),
  };
  const told = (row) =>
    [
      `${row.run}: ${row.origin} child ${row.index}, iteration ${row.iteration}, step ${row.step}`,
      `estimate ${written.estimate(row)}` + (row.predicted == null ? "" : `, predicted ${written.predicted(row)}`),
      row.probability == null ? "" : `probability ${written.probability(row)} at temperature ${row.temperature}`,
      `${count(row.params)} parameters, ${count(row.macs)} MACs`,
      row.arch,
    ].filter((line) => line).join("\n");

  // --- a network as a strip: an operation a square, what it reads beside the one before as an arc
  const svgElement = (name, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const opClass = (op) => "op-" + (["mp", "ap", "id"].includes(op) ? op : /^[cd]\d$/.test(op) ? op[0] : "other");
  const strip = (arch) => {
    const [kind, body] = [arch.slice(0, arch.indexOf(":")), arch.slice(arch.indexOf(":") + 1)];
    const parts = body.split("/");
    const [size, isCell, isMacro] = [22, kind === "micro", kind === "macro"];
    const arcs = isMacro ? 16 : 2;
    const height = arcs + size * (isCell ? 2 : 1) + 2;
    const svg = svgElement("svg", { class: "strip", width: (size + 2) * parts.length + 2, height, "aria-hidden": "true" });
    const square = (x, y, word, label) => {
      svg.append(svgElement("rect", { x, y, width: size, height: size, rx: 4, class: opClass(word) }));
      svg.append(svgElement("text", { x: x + size / 2, y: y + size / 2 + 3.5 }, label));
    };
    parts.forEach((part, place) => {
      const x = 1 + place * (size + 2);
      if (isCell) {
        part.split("+").forEach((input, half) => {
          const [op] = input.split(".");
          square(x, arcs + half * size, op, op);
        });
        return;
      }
      const [op, reads] = part.split(".");
      square(x, arcs, op, op);
      for (const from of isMacro && reads ? reads.split("+").map(Number) : []) {
        if (from === place) continue;
        const start = from === 0 ? 0 : 1 + (from - 1) * (size + 2) + size / 2;
        const end = x + size / 2;
        const top = arcs - Math.min(14, 4 + 1.5 * (place - from));
        svg.append(svgElement("path", { d: `M${start} ${arcs}C${start} ${top} ${end} ${top} ${end} ${arcs}` }));
      }
    });
    return svg;
  };

  // --- drawings
  const packs = [...document.querySelectorAll("script.drawings")];
  const packSize = 64; // As they were packed.
  const numbers = new Map();
  if (!isLive) {
    for (const row of rows) {
      const key = row.run + "\n" + row.arch;
      if (!numbers.has(key)) numbers.set(key, numbers.size);
    }
  }
  const drawingOf = async (row) => {
    if (isLive) {
      const answer = await fetch("drawing?child=" + encodeURIComponent(row.id));
      if (!answer.ok) throw new Error(await answer.text());
      return answer.text();
    }
    const number = numbers.get(row.run + "\n" + row.arch);
    const packed = Uint8Array.from(atob(packs[Math.floor(number / packSize)].textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return (await new Response(stream).json())[number % packSize];
  };
  const draw = async (row) => {
    $("drawing-title").textContent = `Child ${row.index} (${row.run}, ${row.origin})`;
    $("drawing-text").textContent = told(row);
    $("drawing-text").style.whiteSpace = "pre-line";
    const picture = $("drawing-picture");
    picture.textContent = "";
    if (!$("drawing").open) $("drawing").showModal();
    try {
      const text = await drawingOf(row);
      const drawn = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
      picture.replaceChildren(text && drawn.localName === "svg" ? document.importNode(drawn, true) : "No drawing.");
    } catch (error) {
      picture.textContent = "No drawing: " + error.message;
    }
  };

  // --- the table
  const table = $("table");
  const headers = [...table.tHead.rows[0].cells];
  const keys = headers.map((cell) => cell.dataset.key);
  const state = { key: "index", direction: 1, page: 0, isSorted: false };
  const filters = { run: "filter-run", origin: "filter-origin", iteration: "filter-iteration", step: "filter-step" };
  const options = (name) => {
    const select = $(filters[name]);
    if (!select) return;
    const known = new Set([...select.options].map((option) => option.value));
    const found = [...new Set(rows.map((row) => String(row[name])))].filter((value) => !known.has(value));
    for (const value of found.sort((a, b) => a - b || a.localeCompare(b))) select.add(new Option(value, value));
  };
  const passing = () => {
    const contains = $("filter-arch").value.trim();
    const least = $("filter-least").value === "" ? null : Number($("filter-least").value) / 100;
    const wanted = Object.entries(filters).map(([key, id]) => [key, $(id) ? $(id).value : ""]).filter(([, value]) => value);
    const which = $("filter-state").value;
    return rows.filter((row) =>
      (!contains || row.arch.includes(contains)) &&
      (least == null || (row.estimate != null && row.estimate >= least)) &&
      (!which || (which === "failed") === Boolean(row.failed)) &&
      wanted.every(([key, value]) => String(row[key]) === value));
  };
  const sorted = (found) => {
    if (!state.isSorted) return found;
    const { key, direction } = state;
    // What is missing comes last in either direction.
    return [...found].sort((a, b) => {
      const [x, y] = [a[key], b[key]];
      if (x == null || y == null) return (x == null) - (y == null);
      return direction * (typeof x === "string" ? x.localeCompare(y) : x - y);
    });
  };
  const cell = (row, key) => {
    const td = document.createElement("td");
    td.dataset.key = key;
    if (key === "arch") {
      td.className = "net";
      const button = document.createElement("button");
      button.type = "button";
      button.title = "Draw this network";
      const text = document.createElement("code");
      text.textContent = row.arch;
      button.append(strip(row.arch), text);
      button.addEventListener("click", () => draw(row));
      td.append(button);
      return td;
    }
    td.textContent = written[key] ? written[key](row) : row[key];
    if (headers[keys.indexOf(key)].hasAttribute("data-number")) td.className = "number";
    return td;
  };
  const lineOf = (row) => {
    const line = document.createElement("tr");
    line.dataset.child = row.id;
    if (row.failed) line.className = "failed";
    line.append(...keys.map((key) => cell(row, key)));
    return line;
  };
  const fill = () => {
    const found = sorted(passing());
    const size = Number($("size").value);
    const last = Math.max(0, Math.ceil(found.length / size) - 1);
    state.page = Math.min(state.page, last);
    const from = state.page * size;
    const shown = found.slice(from, from + size);
    // Where the page follows a run, this happens again and again under the reader's hands: rows that stay are not touched.
    const body = table.tBodies[0];
    const known = new Map([...body.rows].map((line) => [line.dataset.child, line]));
    const wanted = new Set(shown.map((row) => row.id));
    for (const [id, line] of known) if (!wanted.has(id)) line.remove();
    let next = body.firstElementChild;
    for (const row of shown) {
      const line = known.get(row.id) || lineOf(row);
      if (line === next) next = next.nextElementSibling;
      else body.insertBefore(line, next);
    }
    const place = found.length ? `${from + 1} to ${from + shown.length} of ${count(found.length)}` : "none";
    $("shown").textContent = `${count(found.length)} of ${count(rows.length)} children; rows ${place}`;
    $("place").textContent = place;
    $("previous").disabled = state.page === 0;
    $("next").disabled = state.page >= last;
    headers.forEach((header) => {
      const isKey = state.isSorted && header.dataset.key === state.key;
      header.setAttribute("aria-sort", !isKey ? "none" : state.direction > 0 ? "ascending" : "descending");
    });
  };
  headers.forEach((header) => header.querySelector("button").addEventListener("click", () => {
    const key = header.dataset.key;
    const isAgain = state.isSorted && state.key === key;
    // Of numbers the highest are wanted first.
    const first = header.hasAttribute("data-number") && !["index", "iteration", "step"].includes(key) ? -1 : 1;
    Object.assign(state, { key, direction: isAgain ? -state.direction : first, isSorted: true, page: 0 });
    fill();
  }));
  const again = () => {
    state.page = 0;
    fill();
  };
  $("filters").addEventListener("input", again);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("filters").addEventListener("reset", () => setTimeout(again));
  $("size").addEventListener("change", again);
  const turn = (pages) => {
    state.page += pages;
    fill();
    table.scrollIntoView({ block: "nearest" });
  };
  $("previous").addEventListener("click", () => turn(-1));
  $("next").addEventListener("click", () => turn(1));
  const begin = () => {
    Object.keys(filters).forEach(options);
    fill();
  };
  begin();

  // --- what a plot says of the point under the pointer
  const places = new WeakMap();
  const placesOf = (path) => {
    if (!places.has(path)) {
      const at = [...path.getAttribute("d").matchAll(/M(-?\d+) (-?\d+)h0/g)].map((m) => [Number(m[1]), Number(m[2])]);
      const names = path.dataset.children.split(" ");
      places.set(path, at.map(([x, y], index) => ({ x, y, id: names[index] })));
    }
    return places.get(path);
  };
  const under = (event) => {
    const svg = event.target.closest && event.target.closest(".plot svg");
    if (!svg) return null;
    const box = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / box.width;
    const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    let [nearest, distance] = [null, 12 * 12];
    for (const path of svg.querySelectorAll("path[data-children]")) {
      for (const point of placesOf(path)) {
        const d = (point.x - x) ** 2 + (point.y - y) ** 2;
        if (d <= distance) [nearest, distance] = [point, d];
      }
    }
    return nearest && byId.get(nearest.id);
  };
  const tip = $("tip");
  document.addEventListener("pointermove", (event) => {
    const row = under(event);
    tip.hidden = !row;
    if (!row) return;
    tip.textContent = told(row) + "\n(click: draw)";
    tip.style.left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8) + "px";
    tip.style.top = Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8) + "px";
  });
  document.addEventListener("click", (event) => {
    const row = under(event);
    if (row) draw(row);
  });

  // All of it on paper.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((one) => (one.open = true));
  });
  addEventListener("afterprint", () => opened.forEach((one) => (one.open = false)));

  // --- following a run
  if (!isLive) return;
  // Counts that change every second are not to be read out.
  $("shown").setAttribute("aria-live", "off");
  const connection = $("connection");
  const say = (state, text) => {
    connection.className = state;
    connection.textContent = text;
  };
  let lastChange = Date.now() - 1000 * Number(document.body.dataset.quiet);
  const ago = (seconds) =>
    seconds < 120 ? `${seconds} s` : seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
  const since = () => ($("since").textContent = `The run last wrote something ${ago(Math.round((Date.now() - lastChange) / 1000))} ago.`);
  setInterval(since, 1000);
  since();
  let isFilling = false;
  const fillSoon = () => {
    if (isFilling) return;
    isFilling = true;
    setTimeout(() => {
      isFilling = false;
      begin();
    }, 300);
  };
  // The upper part is asked for when it has changed, seldom enough that a fast search does not keep the page busy, and not
  // while nobody looks.
  let [wanted, isFetching] = [false, false];
  const refresh = async () => {
    if (!wanted || isFetching || document.hidden) return;
    [wanted, isFetching] = [false, true];
    try {
      const answer = await fetch("sections");
      if (!answer.ok) throw new Error(answer.statusText);
      const html = await answer.text();
      // As the reader left it: what is open, how far it is scrolled, where the focus is.
      const parts = () => [...$("sections").querySelectorAll("details, summary, [tabindex]")];
      const before = parts().map((one) => [one.open, one.scrollLeft, one.scrollTop, one === document.activeElement]);
      $("sections").innerHTML = html;
      parts().forEach((one, index) => {
        const [open, left, top, isFocused] = before[index] || [];
        if (one.localName === "details") one.open = Boolean(open);
        one.scrollTo(left || 0, top || 0);
        if (isFocused) one.focus({ preventScroll: true });
      });
    } catch {
      wanted = true;
    }
    setTimeout(() => {
      isFetching = false;
      refresh();
    }, 2000);
  };
  // What was seen last: where a connection goes on. Browsers have six connections to a server; a tab that nobody looks at gives
  // its own back.
  let seen = document.body.dataset.state;
  let events = null;
  const listen = (name, take) => events.addEventListener(name, (event) => {
    if (event.lastEventId) seen = event.lastEventId;
    take(event);
  });
  const connect = () => {
    events = new EventSource("events?state=" + encodeURIComponent(seen));
    events.addEventListener("open", () => say("live", "connected"));
    events.addEventListener("error", () => {
      say("lost", "connection lost, trying again");
      // One that was refused is not tried again by the browser.
      if (events.readyState === EventSource.CLOSED) setTimeout(() => document.hidden || connect(), 3000);
    });
    listen("children", take);
    let isFirst = true;
    listen("changed", () => {
      // The first only says that this page may be older than what there is.
      if (!isFirst) lastChange = Date.now();
      isFirst = false;
      wanted = true;
      refresh();
    });
    // The run began anew or was taken back to a checkpoint, or another one is served: what is here may never have been.
    listen("reset", () => {
      const chosen = [...document.querySelectorAll("#filters input, #filters select, #size")].map((one) => [one.id, one.value]);
      sessionStorage.setItem("epnas", JSON.stringify({ title: document.title, state, chosen, at: scrollY }));
      location.reload();
    });
  };
  const watch = () => {
    if (events) events.close();
    if (document.hidden) {
      say("paused", "paused while nobody looks");
    } else {
      connect();
      refresh();
    }
  };
  document.addEventListener("visibilitychange", watch);
  const take = (event) => {
    for (const row of JSON.parse(event.data)) {
      if (byId.has(row.id)) continue;
      rows.push(row);
      byId.set(row.id, row);
    }
    lastChange = Date.now();
    fillSoon();
  };
  // What the reader had chosen before the page had to be loaded again.
  const kept = JSON.parse(sessionStorage.getItem("epnas") || "null");
  sessionStorage.removeItem("epnas");
  if (kept && kept.title === document.title) {
    Object.assign(state, kept.state);
    for (const [id, value] of kept.chosen) if ($(id)) $(id).value = value;
    fill();
    scrollTo(0, kept.at);
  }
  watch();
})();
