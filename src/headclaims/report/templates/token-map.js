
function tokenMap(holder, map) {
  const part = (name) => holder.querySelector(`.map-${name}`);
  const canvas = part("canvas"), brush = canvas.getContext("2d");
  const search = part("search"), said = part("found"), details = part("details"), legend = part("legend");
  const n = map.tokens.length, out = Array.from({ length: n }, () => []), into = Array.from({ length: n }, () => []);
  map.edges.forEach(([a, b], i) => { out[a].push([b, map.scores[i]]); into[b].push([a, map.scores[i]]); });
  for (const list of [...out, ...into]) list.sort((x, y) => y[1] - x[1]);
  const members = map.names.map(() => []);
  map.community.forEach((c, i) => members[c].push(i));
  const sizes = members.map((some) => some.length);
  const colour = (c) => `hsl(${(c * 137.508) % 360} 62% ${c % 2 ? 46 : 56}%)`;
  const centres = map.names.map((_, c) => {
    const mine = members[c].map((i) => map.at[i]), middle = (k) => mine.map((p) => p[k]).sort((x, y) => x - y)[mine.length >> 1];
    return [middle(0), middle(1)];
  });
  let zoom = 1, centre = [0, 0], chosen = null, community = null, asked = false;

  const scale = () => zoom * 0.47 * Math.min(canvas.clientWidth, canvas.clientHeight);
  const stretch = () => Math.min(1.8, Math.max(1, canvas.clientWidth / canvas.clientHeight));
  const place = (p) => [
    canvas.clientWidth / 2 + (p[0] - centre[0]) * scale() * stretch(), canvas.clientHeight / 2 + (p[1] - centre[1]) * scale(),
  ];

  function lines(onto, edges, style, width) {
    onto.strokeStyle = style;
    onto.lineWidth = width;
    onto.beginPath();
    for (const [a, b] of edges) {
      onto.moveTo(...place(map.at[a]));
      onto.lineTo(...place(map.at[b]));
    }
    onto.stroke();
  }

  function write(text, p, ink, paper, weight) {
    brush.font = `${weight} ${weight > 400 ? 13 : 11}px system-ui, sans-serif`;
    brush.textAlign = "center";
    /* No name runs over the edge. */
    const half = brush.measureText(text).width / 2 + 4;
    p = [Math.min(canvas.clientWidth - half, Math.max(half, p[0])), Math.max(16, p[1])];
    brush.lineWidth = 3;
    brush.strokeStyle = paper;
    brush.strokeText(text, p[0], p[1] - 6);
    brush.fillStyle = ink;
    brush.fillText(text, p[0], p[1] - 6);
  }

  /* Twelve thousand lines take long to draw: while the map moves, their picture is moved. */
  const backdrop = document.createElement("canvas"), behind = backdrop.getContext("2d");
  let pictured = null, later = 0;
  function picture(width, height, ratio, ink) {
    backdrop.width = canvas.width;
    backdrop.height = canvas.height;
    behind.setTransform(ratio, 0, 0, ratio, 0, 0);
    behind.globalAlpha = 0.13;
    lines(behind, map.edges, ink, 0.6);
    pictured = { zoom, centre: centre.slice(), width, height, ratio, ink };
  }
  function drawEdges(width, height, ratio, ink, alpha) {
    const p = pictured;
    const fits = p && p.width === width && p.height === height && p.ratio === ratio && p.ink === ink;
    if (!fits) picture(width, height, ratio, ink);
    const moved = pictured.zoom !== zoom || pictured.centre[0] !== centre[0] || pictured.centre[1] !== centre[1];
    const k = zoom / pictured.zoom, left = place([pictured.centre[0], pictured.centre[1]]);
    brush.globalAlpha = alpha;
    brush.drawImage(backdrop, left[0] - (k * width) / 2, left[1] - (k * height) / 2, k * width, k * height);
    clearTimeout(later);
    if (moved) later = setTimeout(() => { pictured = null; redraw(); }, 150);
  }

  function draw() {
    asked = false;
    const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const style = getComputedStyle(document.documentElement), ink = style.getPropertyValue("--ink").trim(), paper = style.getPropertyValue("--panel").trim();
    brush.setTransform(ratio, 0, 0, ratio, 0, 0);
    brush.clearRect(0, 0, width, height);
    const near = chosen === null ? null : new Set([chosen, ...out[chosen].map((e) => e[0]), ...into[chosen].map((e) => e[0])]);
    const bright = (i) => (near ? near.has(i) : community === null || map.community[i] === community);
    drawEdges(width, height, ratio, ink, near || community !== null ? 0.4 : 1);
    brush.globalAlpha = 0.8;
    if (community !== null && !near) lines(brush, map.edges.filter(([a, b]) => map.community[a] === community && map.community[b] === community), colour(community), 0.5);
    if (near) {
      lines(brush, into[chosen].map(([a]) => [a, chosen]), "#2f86d1", 1.4);
      lines(brush, out[chosen].map(([b]) => [chosen, b]), "#d1495b", 2.2);
    }
    const radius = Math.min(5, 1.6 + zoom * 0.7);
    for (const [c, some] of members.entries()) {
      brush.fillStyle = colour(c);
      for (const lit of [false, true]) {
        brush.globalAlpha = lit ? 1 : 0.15;
        brush.beginPath();
        for (const i of some) {
          if (bright(i) !== lit) continue;
          const [x, y] = place(map.at[i]), r = i === chosen ? radius + 3 : radius;
          if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
          brush.moveTo(x + r, y);
          brush.arc(x, y, r, 0, 7);
        }
        brush.fill();
      }
    }
    brush.globalAlpha = 1;
    if (near) for (const i of near) write(map.tokens[i], place(map.at[i]), ink, paper, i === chosen ? 700 : 400);
    else if (zoom >= 5) {
      for (let i = 0; i < n; i++) if (bright(i)) {
        const p = place(map.at[i]);
        if (p[0] > 0 && p[1] > 0 && p[0] < width && p[1] < height) write(map.tokens[i], p, ink, paper, 400);
      }
    } else {
      map.names.forEach((name, c) => {
        if ((community === null ? sizes[c] >= n / 60 : c === community)) write(width < 600 ? name.split(", ")[0] : name, place(centres[c]), ink, paper, 600);
      });
    }
  }
  function redraw() { if (!asked) { asked = true; requestAnimationFrame(draw); } }

  function element(tag, text, ...children) {
    const made = document.createElement(tag);
    if (text !== null) made.textContent = text;
    made.append(...children);
    return made;
  }

  function listed(title, entries) {
    const head = element("tr", null, element("th", title), element("th", "score"));
    const rows = entries.map(([other, score]) => {
      const go = element("button", other === chosen ? map.tokens[other] + " (itself)" : map.tokens[other]);
      go.type = "button";
      go.addEventListener("click", () => choose(other));
      return element("tr", null, element("td", null, go), element("td", score.toPrecision(4)));
    });
    if (!rows.length) rows.push(element("tr", null, element("td", "none"), element("td", "")));
    return element("table", null, element("thead", null, head), element("tbody", null, ...rows));
  }

  function choose(token) {
    chosen = token;
    community = null;
    details.replaceChildren();
    if (token !== null) {
      const category = map.category[token] ? `, category ${map.category[token]}` : "";
      const link = element("a", "permanent link");
      link.href = `#token=${encodeURIComponent(map.tokens[token])}`;
      history.replaceState(null, "", link.href);
      details.append(
        element("h3", `${map.tokens[token]}: community ${map.names[map.community[token]]}${category} `, link),
        listed("attends to", out[token]), listed(into[token].length > 30 ? `attended by (30 of ${into[token].length})` : "attended by", into[token].slice(0, 30)),
      );
    }
    pressed();
    redraw();
  }

  function pressed() {
    [...legend.children].forEach((one, c) => one.firstChild.setAttribute("aria-pressed", String(c === community)));
  }

  map.names.forEach((name, c) => {
    const dot = element("i", "");
    dot.style.background = colour(c);
    const button = element("button", null, dot, `${name} (${sizes[c]})`);
    button.type = "button";
    button.addEventListener("click", () => {
      const now = community === c ? null : c;
      choose(null);
      community = now;
      pressed();
      redraw();
    });
    legend.append(element("div", null, button));
  });
  pressed();

  const folded = map.tokens.map((token) => token.toLowerCase());
  holder.querySelector("datalist").append(...[...new Set(map.tokens)].map((token) => {
    const option = document.createElement("option");
    option.value = token;
    return option;
  }));

  search.addEventListener("input", () => {
    const text = search.value.trim().toLowerCase();
    if (!text) { said.textContent = ""; choose(null); return; }
    const exact = map.tokens.indexOf(search.value.trim()), same = folded.indexOf(text);
    const begin = folded.flatMap((token, i) => (token.startsWith(text) ? [i] : []));
    const found = exact >= 0 ? exact : same >= 0 ? same : begin.length ? begin[0] : -1;
    if (found < 0) {
      said.textContent = `No token of the map begins with “${search.value.trim()}”.`;
      choose(null);
      return;
    }
    said.textContent = begin.length > 1 ? `${map.tokens[found]}; ${begin.length} tokens begin so.` : map.tokens[found];
    choose(found);
    if (zoom > 1) { centre = map.at[found].slice(); }
  });

  function nearest(x, y) {
    let best = null, distance = 14 * 14;
    for (let i = 0; i < n; i++) {
      const [px, py] = place(map.at[i]), d = (px - x) ** 2 + (py - y) ** 2;
      if (d < distance) { distance = d; best = i; }
    }
    return best;
  }

  function zoomBy(factor) {
    zoom = Math.min(24, Math.max(1, zoom * factor));
    if (zoom === 1) centre = [0, 0];
    redraw();
  }
  function move(dx, dy) {
    centre = [centre[0] - dx / (scale() * stretch()), centre[1] - dy / scale()].map((c) => Math.min(1, Math.max(-1, c)));
    redraw();
  }

  let held = null, moved = 0;
  canvas.addEventListener("pointerdown", (event) => { held = [event.offsetX, event.offsetY]; moved = 0; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) return;
    const dx = event.offsetX - held[0], dy = event.offsetY - held[1];
    moved += Math.abs(dx) + Math.abs(dy);
    held = [event.offsetX, event.offsetY];
    if (moved > 4) move(dx, dy);
  });
  canvas.addEventListener("pointercancel", () => { held = null; });
  canvas.addEventListener("pointerup", (event) => {
    if (held && moved <= 4) {
      said.textContent = "";
      choose(nearest(event.offsetX, event.offsetY));
    }
    held = null;
  });
  canvas.addEventListener("wheel", (event) => {
    /* Without the key the page scrolls, as it does over all else. */
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoomBy(event.deltaY < 0 ? 1.25 : 0.8);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };
    if (event.key in steps && zoom > 1) { move(...steps[event.key]); event.preventDefault(); }
    if (event.key === "+") zoomBy(1.5);
    if (event.key === "-") zoomBy(1 / 1.5);
    if (event.key === "Escape") choose(null);
  });
  part("in").addEventListener("click", () => zoomBy(1.7));
  part("out").addEventListener("click", () => zoomBy(1 / 1.7));
  part("all").addEventListener("click", () => { zoom = 1; centre = [0, 0]; search.value = ""; said.textContent = ""; choose(null); });
  new ResizeObserver(redraw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("beforeprint", draw);
  matchMedia("print").addEventListener("change", draw);
  holder.hasToken = (text) => map.tokens.includes(text);
  holder.chooseToken = (text) => {
    const token = map.tokens.indexOf(text);
    said.textContent = token < 0 ? `No token of the map is “${text}”.` : "";
    choose(token < 0 ? null : token);
    holder.closest("figure").scrollIntoView();
  };
  /* Where a token is on the canvas, for whoever drives the page from without. */
  canvas.placeOf = (token) => place(map.at[map.tokens.indexOf(token)]);
  draw();
}

function edgeTable({ tokens, edges, scores, community, names }) {
  const rows = edges.map(([a, b], i) => [tokens[a], tokens[b], scores[i], names[community[a]], names[community[b]]]);
  return { columns: ["token", "attends to", "score", "community", "community of the other"], rows };
}

SCRIPTS["token-map"] = { draw: tokenMap, numbers: edgeTable };
