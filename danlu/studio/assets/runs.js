// The curves of a run: drawn by uPlot, refined on zoom, growing while the run trains.
"use strict";

(() => {
  const box = document.getElementById("charts");
  const given = JSON.parse(document.getElementById("chart").textContent);
  const { t } = studio;
  const POINTS = 900;
  const ALONE = ["learning_rate", "grad_norm", "tokens_per_second"];
  const controls = document.querySelector("[data-chart-controls]");
  const hidden = new Set(); // curves switched off, by chart and name
  let view = null; // [first, last] while zoomed in
  let data = null; // as the server gave it last
  let plots = [];
  let asked = 0;

  // Asking ----------------------------------------------------------------------------------

  async function load() {
    const mine = ++asked;
    const query = new URLSearchParams({ points: POINTS });
    for (const run of given.runs) query.append("run", run);
    if (view) {
      query.set("first", view[0]);
      query.set("last", view[1]);
    }
    try {
      const answer = await fetch(`/runs/curves?${query}`);
      if (mine !== asked) return; // a later question is under way
      if (!answer.ok) return studio.toast(await answer.text(), "fault");
      data = await answer.json();
      draw();
    } catch {
      studio.toast(t("unreachable"), "fault");
    }
  }

  // Curves ----------------------------------------------------------------------------------

  // Local linear regression with a Gaussian kernel: does not lag, and is not bent at the ends
  // (Fan and Gijbels 1996, section 2.3); as danlu/runs/curves.py has it.
  function smoothed(x, y, width) {
    const at = [];
    for (let i = 0; i < y.length; i++) if (y[i] !== null) at.push(i);
    if (width <= 0 || at.length < 4) return y;
    const result = y.slice();
    let begin = 0;
    for (const own of at) {
      while (x[at[begin]] < x[own] - 3 * width) begin++;
      let s0 = 0, s1 = 0, s2 = 0, t0 = 0, t1 = 0;
      for (let k = begin; k < at.length; k++) {
        const distance = x[at[k]] - x[own];
        if (distance > 3 * width) break;
        const weight = Math.exp(-0.5 * (distance / width) ** 2);
        s0 += weight;
        s1 += weight * distance;
        s2 += weight * distance * distance;
        t0 += weight * y[at[k]];
        t1 += weight * distance * y[at[k]];
      }
      const spread = s0 * s2 - s1 * s1;
      if (spread > 1e-9 * s0 * s0 * width ** 2) result[own] = (s2 * t0 - s1 * t1) / spread;
    }
    return result;
  }

  // Smoothing goes by squares, so that little of it can be set finely; at most a tenth of the view.
  const width = () => ((controls.smoothing.value / 100) ** 2) * 0.1 * (data.last - data.first);

  // Which charts there are, each with its curves: name, colour, dashes, values; a group is switched
  // on and off together, as a task type's training and evaluation.
  function charts() {
    const several = given.runs.length > 1;
    const types = [...new Set(data.series.map((one) => one.task_type))].filter(Boolean).sort();
    const run = (one) => given.runs[one.run].split("/").pop();
    const found = new Map();
    const put = (id, title, curve) => {
      if (!found.has(id)) found.set(id, { id, title, curves: [] });
      found.get(id).curves.push(curve);
    };
    for (const one of data.series) {
      const held = one.split === "eval";
      const more = held ? ` · ${t("runs_eval")}` : "";
      const curve = { one, held, dash: held ? [6, 4] : [], colour: one.run };
      if (one.task_type) {
        if (one.number !== "loss") continue;
        const name = (several ? `${one.task_type} · ${run(one)}` : one.task_type) + more;
        const dash = held ? [6, 4] : one.run ? [2 + 2 * one.run, 3] : [];
        const group = several ? `${one.task_type} · ${run(one)}` : one.task_type;
        put("task_types", t("runs_by_task_type"), { ...curve, name, group, dash, colour: types.indexOf(one.task_type) });
      } else {
        const metric = one.number.startsWith("metrics.") ? one.number.slice(8) : "";
        const title = metric ? given.metrics[metric] || metric : one.number === "loss" ? given.loss : t(`runs_${one.number}`);
        const all = several ? run(one) : one.number === "loss" ? t("runs_all") : title;
        put(one.number, title, { ...curve, name: all + more, group: all + more });
      }
    }
    const order = ["loss", "task_types"];
    const place = (chart) => {
      const index = order.indexOf(chart.id);
      return index >= 0 ? index : ALONE.includes(chart.id) ? 10 + ALONE.indexOf(chart.id) : 5;
    };
    for (const chart of found.values()) {
      const by = (curve) => [chart.id === "task_types" ? curve.colour : 0, curve.one.run, Number(curve.held)];
      chart.curves.sort((a, b) => by(a).reduce((sum, one, k) => sum || one - by(b)[k], 0));
    }
    return [...found.values()].sort((a, b) => place(a) - place(b));
  }

  // Drawing ---------------------------------------------------------------------------------

  const number = (value) =>
    value === null || value === undefined
      ? "–"
      : Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3)
        ? value.toExponential(2)
        : String(+value.toPrecision(4));

  const faint = (colour, share) => colour.replace(/^rgb\(([^)]*)\)$/, `rgba($1, ${share})`);

  function draw() {
    const log = controls.log.checked;
    const shown = charts();
    const ids = shown.map((chart) => chart.id).join(" ");
    if (box.dataset.ids !== ids) {
      box.textContent = "";
      box.dataset.ids = ids;
      for (const chart of shown) box.append(frame(chart));
    }
    plots.forEach((plot) => plot.destroy());
    plots = shown.map((chart) => plotted(chart, log));
    if (!shown.length) {
      box.dataset.ids = "";
      box.innerHTML = "";
      const empty = document.createElement("p");
      empty.className = "empty";
      empty.textContent = t("runs_no_rows");
      box.append(empty);
    }
    box.dataset.drawn = String(data.end); // for tests: the last step on the page
  }

  function frame(chart) {
    const figure = document.createElement("figure");
    figure.className = `card chart ${chart.id === "loss" || chart.id === "task_types" ? "wide" : ""}`;
    figure.dataset.chart = chart.id;
    const caption = document.createElement("figcaption");
    caption.textContent = chart.title;
    const legend = document.createElement("div");
    legend.className = "legend";
    const plot = document.createElement("div");
    plot.className = "plot";
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    figure.append(caption, legend, plot, tip);
    return figure;
  }

  function legend(figure, chart) {
    const list = figure.querySelector(".legend");
    const groups = new Map(chart.curves.map((curve) => [curve.group, curve]).reverse());
    const key = [...groups.keys()].join("\n");
    if (list.dataset.key === key) return;
    list.dataset.key = key;
    list.textContent = "";
    if (groups.size < 2) return;
    for (const [group, curve] of [...groups].reverse()) {
      const name = `${chart.id}\n${group}`;
      const button = document.createElement("button");
      button.type = "button";
      const line = document.createElement("i");
      line.style.borderTopColor = `var(--c${curve.colour % 8})`;
      if (curve.dash.length) line.style.borderTopStyle = "dashed";
      const words = document.createElement("span");
      words.textContent = group;
      button.append(line, words);
      button.setAttribute("aria-pressed", String(!hidden.has(name)));
      button.addEventListener("click", () => {
        hidden.has(name) ? hidden.delete(name) : hidden.add(name);
        button.setAttribute("aria-pressed", String(!hidden.has(name)));
        draw();
      });
      list.append(button);
    }
  }

  function plotted(chart, wantsLog) {
    const figure = box.querySelector(`[data-chart="${CSS.escape(chart.id)}"]`);
    legend(figure, chart);
    const place = figure.querySelector(".plot");
    const ink = studio.colour("muted"), grid = studio.colour("grid");
    const curves = chart.curves.filter((curve) => !hidden.has(`${chart.id}\n${curve.group}`));
    const log = wantsLog && chart.id !== "learning_rate";
    const values = (list) => (log ? list.map((value) => (value > 0 ? value : null)) : list);
    const columns = [data.x], series = [{}], bands = [], lines = [];
    for (const curve of curves) {
      const colour = studio.colour(`c${curve.colour % 8}`);
      const raw = values(curve.one.y);
      const calm = curve.held || chart.id === "learning_rate" ? raw : smoothed(data.x, raw, width());
      if (curve.one.high) {
        columns.push(values(curve.one.high), values(curve.one.low));
        const none = { stroke: "transparent", width: 0, points: { show: false }, spanGaps: true };
        series.push(none, none);
        bands.push({ series: [series.length - 2, series.length - 1], fill: faint(colour, curves.length > 3 ? 0.05 : 0.16) });
      } else if (calm !== raw) {
        columns.push(raw);
        series.push({ stroke: faint(colour, 0.3), width: 1, points: { show: false }, spanGaps: true });
      }
      columns.push(calm);
      series.push({
        stroke: colour, width: curves.length > 9 ? 1.3 : 2, dash: curve.dash, spanGaps: true,
        points: { show: curve.held, size: 6, fill: colour },
      });
      lines.push({ curve, colour, calm, raw });
    }
    const size = () => ({ width: Math.max(200, place.clientWidth), height: figure.classList.contains("wide") ? 330 : 190 });
    const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: "12px system-ui", gap: 6 };
    place.textContent = "";
    const plot = new uPlot(
      {
        ...size(),
        padding: [14, 30, 0, 0],
        legend: { show: false },
        cursor: { sync: { key: "runs" }, drag: { x: true, y: false, setScale: false }, points: { size: 7 } },
        scales: {
          x: { time: false, range: [data.first, Math.max(data.first + 1, data.last)] },
          y: { distr: log ? 3 : 1 },
        },
        axes: [
          { ...axis, size: 30, values: (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? tick.toLocaleString("en") : "")) },
          { ...axis, size: 54, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : number(tick))) },
        ],
        series, bands,
        hooks: {
          drawAxes: [(u) => epochs(u, ink)],
          draw: [(u) => (chart.id === "loss" ? findings(u) : null)],
          setSelect: [(u) => zoomTo(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"), u.select.width)],
          setCursor: [(u) => tip(figure, u, lines)],
        },
      },
      columns,
      place,
    );
    plot.over.addEventListener("dblclick", () => zoom("all"));
    plot.over.addEventListener("mouseleave", () => (figure.querySelector(".tip").hidden = true));
    plot.root.querySelector("canvas").setAttribute("aria-label", chart.title);
    plot.root.querySelector("canvas").setAttribute("role", "img");
    plot.fit = () => plot.setSize(size());
    return plot;
  }

  function line(u, x, colour, dash) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.strokeStyle = colour;
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash(dash.map((one) => one * devicePixelRatio));
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.restore();
  }

  // Where epochs end; only as many as can be told apart.
  function epochs(u, ink) {
    const inside = data.epochs.filter(([step]) => step > data.first && step <= data.last);
    const each = Math.ceil(inside.length / Math.max(1, u.bbox.width / (60 * devicePixelRatio)));
    for (const [step, done] of inside) {
      if (done % each) continue;
      const x = Math.round(u.valToPos(step, "x", true));
      line(u, x, faint(ink, 0.55), [2, 4]);
      u.ctx.fillStyle = ink;
      u.ctx.font = `${10.5 * devicePixelRatio}px system-ui`;
      u.ctx.textAlign = "right";
      u.ctx.fillText(t("runs_epoch", { n: done }), x - 4 * devicePixelRatio, u.bbox.top + 10 * devicePixelRatio);
    }
  }

  // Steps that findings speak of, as triangles on the upper edge.
  function findings(u) {
    for (const mark of given.marks) {
      const colour = studio.colour(mark.severity === "note" ? "muted" : mark.severity === "warning" ? "warn" : "bad");
      for (const step of mark.steps) {
        if (step < data.first || step > data.last) continue;
        const x = u.valToPos(step, "x", true), y = u.bbox.top, half = 5 * devicePixelRatio;
        line(u, x, faint(colour, 0.6), [4, 3]);
        u.ctx.fillStyle = colour;
        u.ctx.beginPath();
        u.ctx.moveTo(x - half, y - half);
        u.ctx.lineTo(x + half, y - half);
        u.ctx.lineTo(x, y + half);
        u.ctx.fill();
      }
    }
  }

  function tip(figure, u, lines) {
    const node = figure.querySelector(".tip");
    const index = u.cursor.idx;
    if (index === null || index === undefined || u.cursor.left < 0) return void (node.hidden = true);
    const x = data.x[index];
    const rows = lines.filter((one) => one.raw[index] !== null && one.raw[index] !== undefined);
    if (!rows.length) return void (node.hidden = true);
    node.textContent = "";
    const when = document.createElement("div");
    when.className = "when";
    const half = (data.width - 1) / 2;
    when.textContent = data.width > 1
      ? t("runs_steps", { first: x - half, last: x + half })
      : t("runs_step", { step: x });
    node.append(when);
    for (const mark of figure.dataset.chart === "loss" ? given.marks : []) {
      if (!mark.steps.some((step) => Math.abs(step - x) <= half + (data.last - data.first) / 200)) continue;
      const says = document.createElement("div");
      says.className = `says ${mark.severity}`;
      says.textContent = mark.says;
      node.append(says);
    }
    for (const one of rows.slice(0, 14)) {
      const row = document.createElement("div");
      row.className = "item";
      const swatch = document.createElement("i");
      swatch.style.background = one.colour;
      const name = document.createElement("span");
      name.textContent = one.curve.name;
      const value = document.createElement("b");
      value.textContent = number(one.raw[index]);
      row.append(swatch, name, value);
      node.append(row);
    }
    node.hidden = false;
    const left = u.over.offsetLeft + u.cursor.left;
    const right = left + node.offsetWidth + 24 > u.root.clientWidth;
    node.style.left = `${right ? left - node.offsetWidth - 4 : left + 28}px`;
    node.style.top = `${u.root.offsetTop + 16}px`;
  }

  // Zoom ------------------------------------------------------------------------------------

  function zoomTo(first, last, pixels) {
    if (pixels < 4) return;
    const low = Math.max(0, Math.round(first)), high = Math.round(last);
    view = high > low ? [low, high] : [low, low + 1];
    load();
  }

  function zoom(how) {
    if (!data) return;
    const span = data.last - data.first, middle = (data.first + data.last) / 2;
    const to = (first, last) => {
      const low = Math.max(0, Math.round(first)), high = Math.min(data.end, Math.round(last));
      view = low <= 0 && high >= data.end ? null : [low, Math.max(low + 1, high)];
    };
    if (how === "all") view = null;
    else if (how === "in" && span > 2) to(middle - span / 4, middle + span / 4);
    else if (how === "out") to(middle - span, middle + span);
    else if (how === "left") to(Math.max(0, data.first - span / 2), Math.max(0, data.first - span / 2) + span);
    else if (how === "right") to(Math.min(data.end, data.last + span / 2) - span, data.last + span / 2);
    load();
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-zoom]");
    if (button) zoom(button.dataset.zoom);
    const at = event.target.closest("[data-step]");
    if (at) around(Number(at.dataset.step));
  });
  function around(step) {
    const reach = Math.max(10, Math.round(data.end / 40));
    view = [Math.max(0, step - reach), step + reach];
    load().then(() => box.scrollIntoView({ block: "start" }));
  }
  let waits = 0;
  controls.addEventListener("input", () => {
    cancelAnimationFrame(waits);
    waits = requestAnimationFrame(() => data && draw());
  });
  controls.addEventListener("submit", (event) => event.preventDefault());
  new ResizeObserver(() => plots.forEach((plot) => plot.fit())).observe(box);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => data && draw());

  // Other runs to lay over it -----------------------------------------------------------------

  const overlay = document.querySelector("[data-overlay]");
  document.querySelectorAll("[data-colour]").forEach((node) => {
    node.style.background = `var(--c${node.dataset.colour % 8})`;
  });
  overlay.addEventListener("input", async () => {
    const answer = await fetch(`/runs/names?${new URLSearchParams({ q: overlay.value })}`);
    if (!answer.ok) return;
    const list = document.getElementById("other-runs");
    list.textContent = "";
    for (const name of await answer.json()) {
      const option = document.createElement("option");
      option.value = name;
      list.append(option);
      if (name === overlay.value) overlay.form.submit();
    }
  });

  // Live ------------------------------------------------------------------------------------

  // A browser opens few connections to one host, so a page that is not looked at closes its own.
  let events = null, last = 0, timer = 0;
  function changed() {
    clearTimeout(timer);
    timer = setTimeout(() => {
      last = Date.now();
      if (!view) load();
      htmx.trigger("#status", "refresh");
    }, Math.max(0, 900 - (Date.now() - last)));
  }
  function listen() {
    events?.close();
    events = null;
    if (document.hidden) return;
    const query = new URLSearchParams(given.runs.map((run) => ["run", run]));
    events = new EventSource(`/runs/live?${query}`);
    events.addEventListener("change", changed);
  }
  document.addEventListener("visibilitychange", () => {
    listen();
    if (!document.hidden) changed();
  });
  addEventListener("pagehide", () => events?.close());

  load().then(() => {
    const named = /^#step=(\d{1,12})$/.exec(location.hash); // as pages of findings link to it
    if (named && data) around(Number(named[1]));
  });
  listen();
})();
