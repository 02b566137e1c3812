// Chooses, draws and sorts what the page's data hold. Statistics are not computed here: they come from Python.
(() => {
  const { SERIES, DASHES, MARKERS, SQUARE, html, finite, short, tick, range, roundMarks, figures } = drawing;
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (name) => document.getElementById(name);
  const column = Object.fromEntries(data.columns.map((one) => [one.key, one]));
  const MOST_PANELS = 24, MOST_CURVES = 12, ROWS = 250, NONE = "\u2014";
  const [METHOD, WIDTH, SIZE] = ["method", "width", "num_params"];
  const state = {
    ...data.chosen, against: "", hidden: {}, chosen: [], leftOut: 0, wrong: [], sort: null, descending: false, filter: "", rows: ROWS,
  };

  const words = { NaN: "not a number", Infinity: "\u221e", "-Infinity": "\u2212\u221e" };

  function written(value, digits) {
    if (value === null || value === undefined) return NONE;
    if (!finite(value)) return words[value] ?? String(value);
    if (digits !== null && digits !== undefined) return value.toFixed(digits);
    return String(Number(value.toPrecision(4)));
  }

  // What is chosen ---------------------------------------------------------------------------------------------------

  const hides = (key, place) => state.hidden[key]?.has(place) ?? false;
  const FILTERS = [METHOD, WIDTH, ...data.varying];
  /** The places of the rows, in a table of columns of places, that no choice hides. */
  function visible(of) {
    const count = of[METHOD].length;
    return [...Array(count).keys()].filter((row) => !FILTERS.some((key) => hides(key, of[key][row])));
  }
  const phrase = (key, place) => column[key].phrases[place];
  const distinct = (values) => [...new Set(values)];

  const pairs = (table, row) => table.headings.map((heading, place) => `${heading}: ${table.cells[row][place]}`);

  /** What a row is of, in words: what all rows share is left out. */
  function named(of, row, keys) {
    return keys.filter((key) => column[key].values.length > 1 || key === METHOD).map((key) => phrase(key, of[key][row])).join(", ");
  }

  /** The networks, by number, that share the places given. */
  function matching(places) {
    const of = data.networks.of;
    return [...Array(of[METHOD].length).keys()].filter((row) => Object.entries(places).every(([key, place]) => of[key][row] === place));
  }

  const nothing = (text) => html("p", { class: "note" }, text);

  // Gains ------------------------------------------------------------------------------------------------------------

  const reading = () => data.gains[state.metric][state.at][state.select];

  /** The columns by which rows belong to one line, where `against` is on the axis. */
  function lineKeys(table, rows, against) {
    const of = table.of;
    let keys = [METHOD, ...(against === SIZE ? [] : [WIDTH, SIZE]), ...data.varying].filter((key) => key !== against);
    keys = keys.filter((key) => distinct(rows.map((row) => of[key][row])).length > 1 || key === METHOD);
    for (const key of [...keys]) {
      if (key === METHOD || !column[key].numeric) continue;
      const rest = keys.filter((one) => one !== key);
      const seen = rows.map((row) => [against, ...rest].map((one) => of[one][row]).join());
      // Points of a line at different places of the axis need not be told apart: sizes tell sparsities apart.
      if (distinct(seen).length === rows.length) keys = rest;
    }
    return keys;
  }

  function choicesOfAxis(table) {
    const several = (key) => distinct(table.of[key]).length > 1;
    const keys = [SIZE, METHOD, ...data.varying].filter(several);
    return keys.length ? keys : [SIZE];
  }

  const legend = (name, series) => byId(`${name}-legend`).replaceChildren(drawing.legend(series));

  /** Clears a section's figure. */
  function cleared(name) {
    byId(`${name}-legend`).replaceChildren();
    byId(`${name}-note`).textContent = "";
    const holder = byId(`${name}-figure`);
    holder.replaceChildren();
    return holder;
  }

  function drawGains() {
    const table = reading(), holder = cleared("gains"), metric = data.metrics[state.metric];
    for (const part of ["against", "details"]) byId(`gains-${part}`).hidden = !table;
    byId("gains-title").textContent = data.baseline < 0 ? "Gains" : `Gain over ${data.baseline_title} in test ${metric.title}`;
    byId("gains-table").replaceChildren();
    byId("against").replaceChildren();
    if (!table) {
      const why = data.baseline < 0 ? `the sweep has no network of the baseline, ${data.baseline_title}, to compare with`
        : column[METHOD].values.length < 2 ? "the sweep has no method to compare with it"
        : `no network of ${data.baseline_title} has the setting and seed of one of another method at its radius`;
      holder.append(nothing(`There are no gains: ${why}.`));
      return;
    }
    const { of } = table, keys = choicesOfAxis(table);
    const against = keys.includes(state.against) ? state.against : keys[0];
    const label = (key) => (key === SIZE ? "number of parameters" : column[key].heading);
    byId("against").append(...keys.map((key) => html("option", { value: key, selected: key === against }, label(key))));
    const all = [...Array(of[METHOD].length).keys()], rows = visible(of);
    const lines = lineKeys(table, all, against), settings = lines.filter((key) => key !== METHOD);
    const settingOf = (row) => settings.map((key) => of[key][row]).join();
    const everySetting = distinct(all.map(settingOf)), everyMethod = distinct(all.map((row) => of[METHOD][row])).sort((a, b) => a - b);
    const groups = new Map();
    for (const row of rows) {
      const key = lines.filter((one) => one !== against).map((one) => of[one][row]).join();
      groups.set(key, [...(groups.get(key) ?? []), row]);
    }
    const places = distinct(rows.map((row) => of[against][row])).sort((a, b) => a - b);
    const position = (place) => (against === SIZE ? Math.log10(column[SIZE].values[place]) : places.indexOf(place));
    const joined = column[against].numeric;
    const order = (members) => lines.map((key) => of[key][members[0]]);
    const sorted = [...groups.values()].sort((a, b) => order(a).reduce((found, place, number) => found || place - order(b)[number], 0));
    const series = sorted.map((members) => {
      const first = members[0], method = everyMethod.indexOf(of[METHOD][first]);
      const colour = everySetting.length > 1 ? everySetting.indexOf(settingOf(first)) : against === METHOD ? 0 : method;
      const name = named(of, first, lines.filter((key) => key !== against)) || "gain";
      return {
        name, colour: `series-${colour % SERIES}`, dash: DASHES[Math.floor(colour / SERIES) % DASHES.length],
        marker: against === METHOD ? 0 : method % MARKERS, line: joined,
        points: members.sort((a, b) => position(of[against][a]) - position(of[against][b])).map((row) => ({
          x: position(of[against][row]), y: table.value[row], low: table.low[row], high: table.high[row], row,
          lines: [named(of, row, [METHOD, WIDTH, SIZE, ...data.varying]), ...pairs(table, row)],
          pick: () => choose(picked(of, row)),
        })),
      };
    });
    const drawn = rows.filter((row) => finite(table.value[row]));
    if (drawn.length) {
      const values = [0, ...drawn.map((row) => table.value[row])];
      const sure = drawn.filter((row) => finite(table.low[row]) && finite(table.high[row]));
      const [low, high] = [Math.min(...values), Math.max(...values)], stretch = 1.5 * (high - low) || Infinity;
      const [lowest, highest] = [Math.min(low, ...sure.map((row) => table.low[row])), Math.max(high, ...sure.map((row) => table.high[row]))];
      const ends = [Math.max(lowest, low - stretch), Math.min(highest, high + stretch)];
      const margin = 0.05 * (ends[1] - ends[0]) || 1, cut = ends[0] !== lowest || ends[1] !== highest;
      const xs = rows.map((row) => position(of[against][row]));
      const span = Math.max(...xs) - Math.min(...xs), pad = span ? span * 0.06 : 0.5;
      const room = holder.getBoundingClientRect().width - 90;
      const step = Math.min(14, (0.7 * room) / (series.length * Math.max(1, places.length)), places.length === 1 ? 40 : 14);
      series.forEach((one, number) => { one.shift = (number - (series.length - 1) / 2) * step; });
      holder.className = "panels one";
      if (against !== METHOD || series.length > 1) legend("gains", series);
      figures(holder, [{
        describe: `Gain over ${data.baseline_title} against ${label(against)}`, picks: true, zero: true, height: 340, series,
        x: {
          label: label(against), low: Math.min(...xs) - pad, high: Math.max(...xs) + pad,
          every: against !== SIZE, marks: places.map((place) => ({ value: position(place), text: against === SIZE ? short(column[SIZE].values[place]) : column[against].cells[place] })),
        },
        y: { label: metric.gain_label, low: ends[0] - margin, high: ends[1] + margin },
      }]);
      byId("gains-note").textContent = [
        table.note, `Every method at its own radius, the best by mean ${metric.title} on the ${data.splits[state.select]}; ${data.epochs[state.at]}.`,
        cut ? "Intervals that leave the figure are cut at its edge; the pointer has them whole." : "", missing(of, rows, table.value),
      ].join(" ");
    } else {
      holder.append(nothing(rows.length ? `None of these gains is a finite number. ${missing(of, rows, table.value)}` : "All gains are hidden by the choices above."));
    }
    fillTable(byId("gains-table"), table, rows, [METHOD, WIDTH, SIZE, ...data.varying]);
  }

  /** Which rows are not drawn. */
  function missing(of, rows, values) {
    const gone = rows.filter((row) => !finite(values[row]));
    if (!gone.length) return "";
    const names = gone.slice(0, 5).map((row) => named(of, row, [METHOD, WIDTH, ...data.varying, ...(of.rho ? ["rho"] : [])]));
    return `Not drawn, as a network has no finite value: ${names.join("; ")}${gone.length > 5 ? ` and ${gone.length - 5} more` : ""}.`;
  }

  /** The networks of a method at its radius, and those of the baseline that they are compared with. */
  function picked(of, row) {
    const setting = Object.fromEntries([WIDTH, SIZE, ...data.varying].map((key) => [key, of[key][row]]));
    const mine = matching({ ...setting, [METHOD]: of[METHOD][row], rho: of.rho[row] });
    return of[METHOD][row] === data.baseline ? mine : [...mine, ...matching({ ...setting, [METHOD]: data.baseline })];
  }

  function fillTable(table, from, rows, keys) {
    const shownKeys = keys.filter((key) => column[key].values.length > 1 || key === METHOD);
    table.replaceChildren(
      html("thead", {}, html("tr", {}, ...[...shownKeys.map((key) => column[key].heading), ...from.headings].map((heading) => html("th", { scope: "col" }, heading)))),
      html("tbody", {}, ...rows.map((row) => html("tr", {}, ...[...shownKeys.map((key) => column[key].cells[from.of[key][row]]), ...from.cells[row]].map((cell) => html("td", {}, cell))))),
    );
  }

  // Radii ------------------------------------------------------------------------------------------------------------

  function drawRadii() {
    const table = data.radii[state.metric][state.at], holder = cleared("radii"), metric = data.metrics[state.metric];
    const { of } = table, rows = visible(of), keyOf = (row) => [METHOD, ...data.varying].map((key) => of[key][row]).join();
    const settingOf = (row) => data.varying.map((key) => of[key][row]).join();
    byId("radii-title").textContent = `Test ${metric.title} at every radius`;
    const gains = reading(), stars = new Set();
    if (gains) {
      gains.of[METHOD].forEach((_, row) => stars.add([METHOD, WIDTH, SIZE, ...data.varying, "rho"].map((key) => gains.of[key][row]).join()));
    }
    const starred = (row) => stars.has([METHOD, WIDTH, SIZE, ...data.varying, "rho"].map((key) => of[key][row]).join());
    const others = rows.filter((row) => of[METHOD][row] !== data.baseline).sort((a, b) => of[METHOD][a] - of[METHOD][b]);
    const panels = distinct(others.map(keyOf));
    byId("radii").hidden = !of[METHOD].some((place) => place !== data.baseline);
    fillTable(byId("radii-table"), table, rows, [METHOD, WIDTH, SIZE, ...data.varying, "rho"]);
    if (!panels.length) {
      holder.append(nothing("All methods with a radius are hidden by the choices above."));
      return;
    }
    if (!rows.some((row) => finite(table.value[row]))) {
      holder.append(nothing("None of these values is a finite number: a network diverged at every radius."));
      return;
    }
    const radii = column.rho.values, positive = distinct(rows.map((row) => radii[of.rho[row]])).filter((one) => one > 0).sort((a, b) => a - b);
    const logs = positive.map(Math.log10), span = logs.length > 1 ? logs[logs.length - 1] - logs[0] : 1;
    const zero = (logs[0] ?? 0) - Math.max(0.18 * span, 0.25), place = (rho) => (rho > 0 ? Math.log10(rho) : zero);
    const atZero = rows.some((row) => radii[of.rho[row]] === 0);
    const [low, high] = range(rows.map((row) => table.value[row]));
    const shade = (row) => `shade-${of[WIDTH][row]}`;
    const widths = distinct(rows.map((row) => of[WIDTH][row])).sort((a, b) => a - b);
    holder.className = panels.length > 1 ? "panels" : "panels one";
    legend("radii", [
      ...widths.map((width) => ({ name: phrase(WIDTH, width), colour: `shade-${width}`, marker: width % MARKERS, dash: "" })),
      ...(data.baseline >= 0 && !hides(METHOD, data.baseline) ? [{ name: `${data.baseline_title}, at radius 0`, colour: "quiet", marker: SQUARE, dash: "4 3" }] : []),
    ]);
    figures(holder, panels.slice(0, MOST_PANELS).map((panel) => {
      const members = rows.filter((row) => keyOf(row) === panel), setting = settingOf(members[0]);
      const base = rows.filter((row) => of[METHOD][row] === data.baseline && settingOf(row) === setting);
      const point = (row) => ({
        x: place(radii[of.rho[row]]), y: table.value[row], star: starred(row),
        lines: [named(of, row, [METHOD, WIDTH, SIZE, ...data.varying, "rho"]), ...pairs(table, row)],
        pick: () => choose(picked(of, row)),
      });
      const series = distinct(members.map((row) => [of[WIDTH][row], of[SIZE][row]].join())).flatMap((size) => {
        const same = (row) => [of[WIDTH][row], of[SIZE][row]].join() === size;
        const mine = members.filter(same).sort((a, b) => of.rho[a] - of.rho[b]), level = base.filter(same);
        const colour = shade(mine[0]);
        return [
          ...(level.length ? [{ colour, marker: SQUARE, dash: "4 3", level: true, points: level.map(point) }] : []),
          { colour, marker: of[WIDTH][mine[0]] % MARKERS, dash: "", points: mine.map(point) },
        ];
      });
      return {
        title: named(of, members[0], [METHOD, ...data.varying]), describe: `Test ${metric.title} against the radius: ${named(of, members[0], [METHOD, ...data.varying])}`,
        picks: true, height: panels.length > 1 ? 230 : 300, series,
        x: {
          label: "radius rho", low: (atZero || !logs.length ? zero : logs[0]) - 0.04 * span, high: (logs[logs.length - 1] ?? zero + 1) + 0.04 * span,
          marks: [...(atZero ? [{ value: zero, text: "0" }] : []), ...positive.map((rho) => ({ value: Math.log10(rho), text: tick(rho) }))],
        },
        y: { label: `test ${metric.label}`, low, high },
      };
    }));
    byId("radii-note").textContent = [
      `Means over seeds, ${data.epochs[state.at]}.`, gains ? `Ringed: the radius chosen on the ${data.splits[state.select]}.` : "",
      panels.length > MOST_PANELS ? `The first ${MOST_PANELS} of ${panels.length} panels: choose fewer methods or settings for the others.` : "",
      missing(of, rows, table.value),
    ].join(" ");
  }

  // Learning curves --------------------------------------------------------------------------------------------------

  const curves = (() => {
    const { counts, epochs, values } = data.curves, text = atob(values), view = new DataView(new ArrayBuffer(4));
    const names = 1 + data.metrics.length, starts = [];
    let start = 0;
    for (const count of counts) { starts.push(start); start += names * epochs[count].length; }
    function number(place) {
      for (let byte = 0; byte < 3; byte++) view.setUint8(byte, text.charCodeAt(3 * place + byte));
      view.setUint8(3, 0);
      return view.getFloat32(0);
    }
    /** The points [epoch, value] of a network: of the training loss, name 0, or the validation metric name - 1. */
    return (network, name) => {
      const shown = epochs[counts[network]], first = starts[network] + name * shown.length;
      return shown.map((epoch, place) => [epoch, number(first + place)]);
    };
  })();

  const networkName = (network) => named(data.networks.of, network, [METHOD, WIDTH, ...data.varying, "rho", "seed"]);

  function drawCurves() {
    const holder = cleared("curves");
    if (!state.chosen.length) {
      holder.append(nothing("Tick networks in the table below, or click a point above (Enter on the keyboard)."));
      return;
    }
    const look = (number) => ({ colour: `series-${number % SERIES}`, dash: DASHES[Math.floor(number / SERIES) % DASHES.length] });
    holder.className = "panels two";
    legend("curves", state.chosen.map((network, number) => ({ name: networkName(network), marker: null, ...look(number) })));
    const diverged = data.networks.measured.find((one) => one.name === "diverged").values;
    const metric = data.metrics[state.metric], thinned = [], drawn = [];
    for (const [name, label, falls] of [[0, "training loss, epoch's mean", true], [1 + state.metric, `validation ${metric.label}`, !metric.higher]]) {
      const all = state.chosen.map((network) => curves(network, name));
      const values = all.flat().map(([, value]) => value).filter(Number.isFinite), last = Math.max(...all.flat().map(([epoch]) => epoch));
      const log = byId("logarithmic").checked && falls && values.some((value) => value > 0);
      const sound = log ? values.filter((value) => value > 0) : values;
      const [low, high] = log ? range(sound.map(Math.log10)).map((value) => 10 ** value) : range(sound);
      if (!sound.length) { holder.append(nothing(`${label}: none of the chosen networks has a finite value.`)); continue; }
      const single = last === 1;
      drawn.push({
        describe: `${label} against the epoch`, height: 300,
        series: all.map((points, number) => ({
          ...look(number), marker: single ? 0 : null,
          points: points.map(([epoch, value]) => ({
            x: epoch, y: Number.isFinite(value) ? value : null,
            lines: [networkName(state.chosen[number]), `epoch ${epoch}`, `${label}: ${written(value)}`],
          })),
        })),
        x: { label: "epoch", low: single ? 0 : 1, high: single ? 2 : last, marks: single ? [{ value: 1, text: "1" }] : [1, ...roundMarks(1, last, 6).filter((mark) => Number.isInteger(mark) && mark > 1)].map((mark) => ({ value: mark, text: String(mark) })) },
        y: { label, low, high, log },
      });
    }
    figures(holder, drawn);
    for (const network of state.chosen) {
      const count = data.curves.counts[network];
      if (data.curves.epochs[count].length < count) thinned.push(count);
    }
    const ended = state.chosen.filter((network) => diverged[network] > 0).map((network) => `${networkName(network)} in epoch ${diverged[network]}`);
    byId("curves-note").textContent = [
      thinned.length ? `${data.curves.most} of up to ${Math.max(...thinned)} epochs of a network are shown, evenly spread, the first and the last among them; history.parquet has all.` : "Every epoch is shown.",
      "Values are rounded to four digits.", ended.length ? `Diverged: ${ended.join("; ")}.` : "",
      state.leftOut ? `At most ${MOST_CURVES} curves are shown: those of ${state.leftOut} more networks, of later seeds, are left out.` : "",
    ].join(" ");
  }

  /** Sets the networks whose learning curves are shown; of too many those of the first seeds, so that pairs stay whole. */
  function choose(networks) {
    const seed = data.networks.of.seed;
    const bySeed = networks.length > MOST_CURVES ? [...networks].sort((one, other) => seed[one] - seed[other]) : networks;
    state.chosen = bySeed.slice(0, MOST_CURVES);
    state.leftOut = networks.length - state.chosen.length;
    drawCurves();
    drawNetworks();
  }

  // Networks ---------------------------------------------------------------------------------------------------------

  /** The columns of the table as they are chosen: {name, heading, text(row), value(row)}. */
  function tableColumns() {
    const of = data.networks.of;
    const identity = data.columns.filter((one) => one.values.length > 1 || one.key === METHOD).map((one) => {
      const texts = one.cells, numbers = one.numeric ? texts.map((text) => parseFloat(text.replaceAll(",", ""))) : null;
      return {
        name: one.key === SIZE ? "parameters" : one.key, heading: one.heading,
        text: (row) => texts[of[one.key][row]], value: (row) => (numbers ? numbers[of[one.key][row]] : texts[of[one.key][row]]),
      };
    });
    const chosen = data.networks.measured.filter((one) => (one.metric ?? state.metric) === state.metric && (one.at ?? state.at) === state.at);
    const measured = chosen.map((one) => ({
      name: one.name, heading: one.heading, value: (row) => one.values[row],
      text: (row) => (one.name === "diverged" && one.values[row] === 0 ? "no" : written(one.values[row], one.digits)),
    }));
    return [...identity, ...measured];
  }

  const COMPARE = { ">": (a, b) => a > b, "<": (a, b) => a < b, ">=": (a, b) => a >= b, "<=": (a, b) => a <= b };

  /** What the filter says as functions of a row, and what of it cannot be. */
  function conditions(columns) {
    const found = [], wrong = [];
    for (const part of state.filter.trim().split(/\s+/).filter(Boolean)) {
      const [, name, relation, wanted] = part.match(/^([\p{L}_][\p{L}\p{N}_-]*)(>=|<=|=|>|<)(.+)$/u) ?? [];
      const one = name && columns.find((other) => other.name.toLowerCase() === name.toLowerCase());
      const bound = Number(String(wanted).replaceAll(",", "").replace(/%$/, ""));
      if (!name) {
        const text = part.toLowerCase();
        found.push((row) => columns.some((other) => other.text(row).toLowerCase().includes(text)));
      } else if (!one) wrong.push(`there is no column ${name}`);
      else if (relation === "=") {
        found.push((row) => (typeof one.value(row) === "number" && !Number.isNaN(bound) ? one.value(row) === bound || one.text(row) === wanted : one.text(row).toLowerCase() === wanted.toLowerCase()));
      } else if (Number.isNaN(bound)) wrong.push(`${wanted} is not a number`);
      else {
        // As it is shown, so that no row is both below and equal to what a reader sees.
        const seen = (row) => { const shown = parseFloat(one.text(row).replaceAll(",", "")); return Number.isNaN(shown) ? one.value(row) : shown; };
        found.push((row) => typeof one.value(row) === "number" && COMPARE[relation](seen(row), bound));
      }
    }
    return { found, wrong };
  }

  function showCount() {
    const curves = state.chosen.length ? `, curves of ${state.chosen.length}` : "";
    const wrong = state.wrong.length ? ` Left out of the filter: ${state.wrong.join("; ")}.` : "";
    byId("count").textContent = `${state.found.length} of ${data.networks.of[METHOD].length} networks${curves}.${wrong}`;
  }

  function drawNetworks() {
    const columns = tableColumns(), { found, wrong } = conditions(columns);
    const rows = visible(data.networks.of).filter((row) => found.every((holds) => holds(row)));
    const sorted = columns.find((one) => one.name === state.sort);
    if (sorted) {
      const sign = state.descending ? -1 : 1;
      const order = (row) => { const value = sorted.value(row); return Object.hasOwn(words, value) ? null : value; };
      // What is no number comes last, whichever way.
      rows.sort((a, b) => {
        const [one, other] = [order(a), order(b)];
        if (one === null || other === null) return (one === null) - (other === null) || a - b;
        return (one < other ? -sign : one > other ? sign : 0) || a - b;
      });
    }
    state.found = rows;
    const focused = document.activeElement?.dataset?.sort;
    byId("networks").replaceChildren(
      html("thead", {}, html("tr", {}, html("th", { scope: "col" }, "curve"), ...columns.map((one) => {
        const button = html("button", { type: "button", "data-sort": one.name }, one.heading);
        button.addEventListener("click", () => {
          state.descending = state.sort === one.name && !state.descending;
          state.sort = one.name;
          drawNetworks();
        });
        return html("th", { scope: "col", "aria-sort": state.sort === one.name ? (state.descending ? "descending" : "ascending") : "none" }, button);
      }))),
      html("tbody", {}, ...rows.slice(0, state.rows).map((row) => {
        const box = html("input", { type: "checkbox", "aria-label": `Learning curve of ${networkName(row)}`, "data-network": row });
        box.checked = state.chosen.includes(row);
        return html("tr", { class: box.checked ? "chosen" : null }, html("td", {}, box), ...columns.map((one) => html("td", {}, one.text(row))));
      })),
    );
    if (focused) byId("networks").querySelector(`[data-sort="${focused}"]`)?.focus();
    state.wrong = wrong;
    showCount();
    byId("filter-hint").textContent = `Words that a row holds, and values of columns, with blanks between: sam width>=8 test<90. Columns: ${columns.map((one) => one.name).join(", ")}.`;
    const more = byId("more");
    more.hidden = rows.length <= state.rows;
    more.textContent = `Show more: ${rows.length - state.rows} are left`;
  }

  // Controls ---------------------------------------------------------------------------------------------------------

  function draw() {
    drawGains();
    drawRadii();
    drawCurves();
    drawNetworks();
  }

  function options(name, texts) {
    const select = byId(name);
    select.append(...texts.map((text, place) => html("option", { value: place, selected: place === state[name] }, text)));
    select.addEventListener("change", () => { state[name] = Number(select.value); draw(); });
  }

  function filters() {
    for (const key of FILTERS) {
      const { heading, cells } = column[key];
      if (cells.length < 2) continue;
      const group = html("fieldset", { "data-filter": key }, html("legend", {}, heading));
      state.hidden[key] = new Set();
      cells.forEach((cell, place) => {
        const box = html("input", { type: "checkbox", checked: true });
        box.addEventListener("change", () => { state.hidden[key][box.checked ? "delete" : "add"](place); draw(); });
        group.append(html("label", {}, box, cell));
      });
      byId("filters").append(group);
    }
  }

  /** At first: the largest network of the baseline, and that of the first other method at its radius, of one seed. */
  function firstCurves() {
    const gains = reading(), of = data.networks.of;
    if (!gains) return of[METHOD].length ? [of[METHOD].length - 1] : [];
    const rows = [...Array(gains.of[METHOD].length).keys()];
    const rank = (row) => [gains.of[SIZE][row], -gains.of[METHOD][row]];
    const above = (one, other) => one[0] - other[0] || one[1] - other[1];
    const largest = rows.reduce((best, row) => (above(rank(row), rank(best)) > 0 ? row : best), 0);
    const found = picked(gains.of, largest), seed = of.seed[found[0]];
    return found.filter((network) => of.seed[network] === seed);
  }

  options("metric", data.metrics.map((one) => one.label));
  options("at", data.epochs);
  options("select", data.splits);
  filters();
  byId("against").addEventListener("change", (event) => { state.against = event.target.value; drawGains(); });
  byId("logarithmic").addEventListener("change", drawCurves);
  byId("theme").addEventListener("change", (event) => {
    if (event.target.value) document.documentElement.dataset.theme = event.target.value;
    else delete document.documentElement.dataset.theme;
  });
  byId("choices").addEventListener("submit", (event) => event.preventDefault());
  byId("filter").addEventListener("input", (event) => { state.filter = event.target.value; state.rows = ROWS; drawNetworks(); });
  byId("choose").addEventListener("click", () => choose(state.found.slice(0, 8)));
  byId("clear").addEventListener("click", () => choose([]));
  byId("more").addEventListener("click", () => { state.rows += ROWS; drawNetworks(); });
  byId("networks").addEventListener("change", (event) => {
    const network = Number(event.target.dataset.network);
    if (event.target.checked && state.chosen.length >= MOST_CURVES) {
      event.target.checked = false;
      byId("count").textContent = `${MOST_CURVES} curves are shown at most: untick one first.`;
      return;
    }
    state.chosen = event.target.checked ? [...state.chosen, network] : state.chosen.filter((one) => one !== network);
    event.target.closest("tr").classList.toggle("chosen", event.target.checked);
    state.leftOut = 0;
    showCount();
    drawCurves();
  });

  byId("main").hidden = false;
  state.chosen = firstCurves();
  let wide = document.documentElement.clientWidth;
  draw();
  new ResizeObserver(() => {
    const now = document.documentElement.clientWidth;
    if (now !== wide) { wide = now; drawGains(); drawRadii(); drawCurves(); }
  }).observe(document.documentElement);
})();
