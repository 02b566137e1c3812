"use strict";
// Draws figures as SVG whose points answer to pointer, touch and keyboard. It knows nothing of what they show.
const drawing = (() => {
  const SERIES = 8, DASHES = ["", "6 3", "2 3", "9 3 2 3"];
  // Of these the last is the baseline's.
  const MARKERS = 5, SQUARE = 5;

  // Elements ---------------------------------------------------------------------------------------------------------

  const SVG = "http://www.w3.org/2000/svg";

  function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
  }
  const html = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  const finite = (value) => typeof value === "number";

  function short(value) {
    const [size, unit] = [[1e9, "G"], [1e6, "M"], [1e3, "k"]].find(([one]) => value >= one) ?? [1, ""];
    return `${Number((value / size).toPrecision(3))}${unit}`;
  }

  function tick(value) {
    const size = Math.abs(value);
    if (size && (size < 1e-3 || size >= 1e6)) return Number(value.toPrecision(6)).toExponential().replace("e+", "e");
    return String(Number(value.toPrecision(6)));
  }

  // Axes -------------------------------------------------------------------------------------------------------------

  function linear(low, high, from, to) {
    const span = high - low || 1;
    return (value) => from + ((value - low) / span) * (to - from);
  }

  function roundMarks(low, high, count) {
    const raw = (high - low) / Math.max(1, count) || 1;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= raw * 0.999);
    const marks = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) marks.push(k * step);
    return marks;
  }

  function logMarks(low, high, count) {
    const marks = (factors) => {
      const found = [];
      for (let k = Math.floor(Math.log10(low)); k <= Math.ceil(Math.log10(high)); k++) {
        for (const one of factors) {
          const mark = Number((one * 10 ** k).toPrecision(3));
          if (mark >= low * 0.999 && mark <= high * 1.001) found.push(mark);
        }
      }
      return found;
    };
    const [coarse, fine] = [marks([1]), marks([1, 2, 5])];
    const chosen = coarse.length > 2 ? coarse : fine;
    const every = Math.max(1, Math.ceil(chosen.length / Math.max(1, count)));
    return chosen.filter((_, place) => place % every === 0);
  }

  /** Of marks on an axis, from left to right, those whose texts have room; the last one stays. */
  function apart(marks) {
    const kept = [];
    for (const mark of [...marks].reverse()) {
      const half = mark.text.length * 3.6 + 5;
      if (!kept.length || mark.at + half <= kept[0].at - (kept[0].text.length * 3.6 + 5)) kept.unshift(mark);
    }
    return kept;
  }

  function range(values, extra = 0.06) {
    const sound = values.filter(finite);
    if (!sound.length) return [0, 1];
    const [low, high] = [Math.min(...sound), Math.max(...sound)];
    const margin = (high - low) * extra || Math.abs(high) * extra || 1;
    return [low - margin, high + margin];
  }

  // Marks ------------------------------------------------------------------------------------------------------------

  function marker(kind, x, y, size = 4.5) {
    const s = size;
    const shapes = [
      null,
      [[0, -1.3], [1.3, 0], [0, 1.3], [-1.3, 0]],
      [[0, -1.25], [1.2, 0.9], [-1.2, 0.9]],
      [[0, 1.25], [1.2, -0.9], [-1.2, -0.9]],
      [[-1.3, -0.5], [-0.5, -0.5], [-0.5, -1.3], [0.5, -1.3], [0.5, -0.5], [1.3, -0.5], [1.3, 0.5], [0.5, 0.5], [0.5, 1.3], [-0.5, 1.3], [-0.5, 0.5], [-1.3, 0.5]],
      [[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]],
    ];
    const shape = shapes[kind];
    if (!shape) return svg("circle", { cx: x, cy: y, r: s, fill: "currentColor" });
    return svg("polygon", { points: shape.map(([dx, dy]) => `${x + dx * s},${y + dy * s}`).join(" "), fill: "currentColor" });
  }

  /** The lines of a figure with their names. */
  function legend(series) {
    const list = html("ul", { class: "legend" });
    for (const one of series) {
      const sample = svg("svg", { width: 30, height: 14, class: one.colour, "aria-hidden": "true" });
      if (one.line !== false) {
        sample.append(svg("line", { x1: 1, x2: 29, y1: 7, y2: 7, stroke: "currentColor", "stroke-width": 2, "stroke-dasharray": one.dash || null }));
      }
      if (one.marker !== null) sample.append(marker(one.marker, 15, 7));
      list.append(html("li", {}, sample, html("span", {}, one.name)));
    }
    return list;
  }

  // Figures ----------------------------------------------------------------------------------------------------------

  /** Draws figures beside and below each other. All take their places before one is measured. */
  function figures(holder, all) {
    const boxes = all.map((what) => html("figure", {}, what.title ? html("figcaption", {}, what.title) : null, html("p", { class: "axis" }, what.y.label)));
    holder.append(...boxes);
    boxes.forEach((box, number) => figure(box, all[number]));
  }

  /**
   * One pair of axes. Its points answer to the pointer, to touch and, with the focus on it, to arrow keys.
   *
   * what: {title, describe, x: {label, marks: [{value, text}], low, high, every}, y: {label, low, high, log}, height, zero,
   *        series: [{name, colour, marker, dash, line, points: [{x, y, low, high, star, lines, pick}]}]}
   * Of a point, low and high are the ends of its interval, lines what is told of it, pick what a click does.
   */
  function figure(box, what) {
    const width = Math.max(220, Math.floor(box.getBoundingClientRect().width));
    const scale = what.y.log ? Math.log10 : (value) => value;
    const marks = what.y.log ? logMarks(what.y.low, what.y.high, what.height / 40) : roundMarks(what.y.low, what.y.high, what.height / 45);
    const longest = Math.max(...what.x.marks.map((mark) => mark.text.length));
    // Texts of which none may be left out stand steep where they have no room.
    const steep = what.x.every && longest * 7.2 + 10 > (width - 60) / what.x.marks.length;
    const left = Math.max(14 + 7 * Math.max(2, ...marks.map((mark) => tick(mark).length)), steep ? longest * 3.4 - 4 : 0), right = width - 14;
    const top = 8, bottom = what.height - 24, height = what.height + (steep ? longest * 6 : 0);
    const toX = linear(what.x.low, what.x.high, left + 8, right - 8), along = linear(scale(what.y.low), scale(what.y.high), bottom, top);
    const toY = (value) => along(scale(value));
    const picture = svg("svg", {
      class: "plot", width, height, viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "application",
      "aria-roledescription": "figure", "aria-label": `${what.describe}. Arrow keys move from point to point${what.picks ? ", Enter shows the learning curves of its networks" : ""}.`,
    });
    for (const mark of marks) {
      picture.append(svg("line", { class: "rule", x1: left, x2: right, y1: toY(mark), y2: toY(mark) }));
      picture.append(svg("text", { x: left - 6, y: toY(mark) + 4, "text-anchor": "end" }, tick(mark)));
    }
    const placed = what.x.marks.map((one) => ({ at: toX(one.value), text: one.text }));
    for (const mark of steep ? placed : apart(placed)) {
      picture.append(svg("line", { class: "rule", x1: mark.at, x2: mark.at, y1: top, y2: bottom }));
      if (steep) picture.append(svg("text", { "text-anchor": "end", transform: `translate(${mark.at + 4} ${bottom + 12}) rotate(-60)` }, mark.text));
      else picture.append(svg("text", { x: Math.min(Math.max(mark.at, mark.text.length * 3.4), width - mark.text.length * 3.4), y: bottom + 16, "text-anchor": "middle" }, mark.text));
    }
    if (what.zero) picture.append(svg("line", { class: "zero", x1: left, x2: right, y1: toY(0), y2: toY(0) }));
    const clamp = (y) => Math.min(Math.max(y, top - 2), bottom + 2);
    const lines = [];
    for (const one of what.series) {
      const group = svg("g", { class: one.colour }), drawn = [];
      let path = "", pen = "M";
      for (const point of one.points) {
        if (!finite(point.y) || (what.y.log && point.y <= 0)) { pen = "M"; continue; }
        const place = { ...point, px: toX(point.x) + (one.shift ?? 0), py: toY(point.y), series: one };
        path += `${pen}${place.px.toFixed(1)} ${place.py.toFixed(1)}`;
        pen = "L";
        drawn.push(place);
        if (finite(point.low) && finite(point.high)) {
          const [high, low] = [clamp(toY(point.high)), clamp(toY(point.low))];
          group.append(svg("line", { x1: place.px, x2: place.px, y1: high, y2: low, stroke: "currentColor", "stroke-width": 1.4 }));
          for (const [end, whole] of [[high, toY(point.high)], [low, toY(point.low)]]) {
            if (end === whole) group.append(svg("line", { x1: place.px - 3, x2: place.px + 3, y1: end, y2: end, stroke: "currentColor", "stroke-width": 1.4 }));
          }
        }
      }
      if (one.level) path = drawn.length ? `M${left} ${drawn[0].py.toFixed(1)}L${right} ${drawn[0].py.toFixed(1)}` : "";
      if (one.line !== false && path) {
        group.append(svg("path", { d: path, fill: "none", stroke: "currentColor", "stroke-width": one.level ? 1 : 1.8, "stroke-dasharray": one.dash || null, "stroke-linejoin": "round" }));
      }
      for (const place of drawn) {
        if (one.marker !== null) group.append(marker(one.marker, place.px, place.py));
        if (place.star) group.append(svg("circle", { class: "star", cx: place.px, cy: place.py, r: 9 }));
      }
      picture.append(group);
      if (drawn.length) lines.push(drawn);
    }
    const ring = svg("circle", { class: "ring", r: 8, visibility: "hidden" });
    picture.append(ring);
    const tip = html("div", { class: "tip", role: "status" });
    const frame = html("div", {}, picture);
    box.append(frame, html("p", { class: "axis x" }, what.x.label), tip);
    respond(what, { box, frame, picture, ring, tip, lines, width });
  }

  /** Has the points of a figure answer. */
  function respond(what, { box, frame, picture, ring, tip, lines, width }) {
    const points = lines.flat();
    let active = null, pointer = "mouse";

    function show(point) {
      active = point;
      ring.setAttribute("visibility", point ? "visible" : "hidden");
      if (!point) { tip.replaceChildren(); return; }
      ring.setAttribute("cx", point.px);
      ring.setAttribute("cy", point.py);
      tip.replaceChildren(html("b", {}, point.lines[0]), ...point.lines.slice(1).map((line) => html("div", {}, line)));
      const origin = frame.getBoundingClientRect(), outer = box.getBoundingClientRect();
      const room = tip.getBoundingClientRect();
      const across = point.px + 14 + room.width <= width ? point.px + 14 : Math.max(0, Math.min(point.px - 14 - room.width, width - room.width));
      const above = point.py - room.height - 14;
      tip.style.transform = `translate(${Math.round(across)}px, ${Math.round(origin.top - outer.top + (above > -40 ? above : point.py + 16))}px)`;
    }

    function nearest(event) {
      const place = picture.getBoundingClientRect();
      const [x, y] = [event.clientX - place.left, event.clientY - place.top];
      let best = null, least = 48 ** 2;
      for (const point of points) {
        const distance = (point.px - x) ** 2 + (point.py - y) ** 2;
        if (distance < least) [best, least] = [point, distance];
      }
      return best;
    }

    picture.addEventListener("pointermove", (event) => { pointer = event.pointerType; show(nearest(event)); });
    picture.addEventListener("pointerdown", (event) => { pointer = event.pointerType; show(nearest(event)); });
    picture.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") show(null); });
    picture.addEventListener("click", () => { if (pointer === "mouse") active?.pick?.(); });
    picture.addEventListener("focus", () => { if (picture.matches(":focus-visible") && !active) show(points[0] ?? null); });
    picture.addEventListener("blur", () => show(null));
    picture.addEventListener("keydown", (event) => {
      const line = lines.find((one) => one.includes(active)) ?? lines[0];
      if (!line) return;
      const place = Math.max(0, line.indexOf(active)), row = lines.indexOf(line);
      const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
      const jump = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (step !== undefined) show(line[Math.min(Math.max(place + step, 0), line.length - 1)]);
      else if (jump !== undefined) {
        const other = lines[(row + jump + lines.length) % lines.length], x = line[place].px;
        show(other.reduce((best, one) => (Math.abs(one.px - x) < Math.abs(best.px - x) ? one : best)));
      } else if (event.key === "Escape") show(null);
      else if ((event.key === "Enter" || event.key === " ") && active?.pick) active.pick();
      else return;
      event.preventDefault();
    });
  }

  return { SERIES, DASHES, MARKERS, SQUARE, html, finite, short, tick, range, roundMarks, legend, figures };
})();
