"use strict";
// Charts of the report. Text from data is only ever set as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("run-data").textContent);
  const options = { log: false, smoothing: data.smoothing };
  const redraws = [];

  function svg(name, attributes, parent, text) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  }

  function html(name, className, parent, text) {
    const node = document.createElement(name);
    node.className = className;
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  }

  // Numbers ------------------------------------------------------------------------------

  function compact(value) {
    const size = Math.abs(value);
    if (size >= 1e6) return minus(trim((value / 1e6).toPrecision(3)) + "M");
    if (size >= 1e4) return minus(trim((value / 1e3).toPrecision(3)) + "k");
    if (size !== 0 && size < 1e-3) return minus(value.toExponential(1).replace(/\.0e/, "e"));
    return minus(trim(value.toPrecision(4)));
  }

  // As danlu/runs/wording.py:metric_value.
  function metricText(value) {
    const size = Math.abs(value);
    if (size < 1e-4) return "0.000";
    if (size >= 1000) return minus(Math.round(value).toLocaleString("en"));
    if (size < 0.01) return minus(trim(value.toPrecision(2)));
    return minus(value.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : 3));
  }

  const trim = (text) => (text.includes(".") ? text.replace(/0+$/, "").replace(/\.$/, "") : text);
  const minus = (text) => text.replace(/-/g, "−");
  const lossText = (value) => minus(Math.abs(value) >= 0.1 ? value.toFixed(3) : trim(value.toPrecision(3)));

  function niceTicks(low, high, count) {
    if (!(high > low)) return [low];
    const rough = (high - low) / count;
    const magnitude = 10 ** Math.floor(Math.log10(rough));
    const gap = [1, 2, 5, 10].map((m) => m * magnitude).find((g) => g >= rough * 0.999);
    const ticks = [];
    for (let i = Math.ceil(low / gap - 1e-9); i <= Math.floor(high / gap + 1e-9); i++) {
      ticks.push(Number((i * gap).toPrecision(10)));
    }
    return ticks;
  }

  // The finest of these that leaves room; over less than an octave plain round numbers read better.
  function logTicks(low, high, count) {
    for (const steps of [[1, 1.5, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]) {
      const ticks = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
        for (const step of steps) {
          const value = Number((step * 10 ** power).toPrecision(3));
          if (value >= low && value <= high) ticks.push(value);
        }
      }
      if (ticks.length < 3) return niceTicks(low, high, count);
      if (ticks.length <= count + 2) return ticks;
    }
    return niceTicks(Math.log10(low), Math.log10(high), count).map((value) => 10 ** value);
  }

  // Local linear regression with a Gaussian kernel, as danlu/runs/curves.py:smoothed, where it is derived.
  function smooth(x, y, width) {
    if (!(width > 0) || x.length < 3) return y;
    const low = Math.min(...y), high = Math.max(...y);
    let begin = 0;
    return x.map((centre, own) => {
      while (x[begin] < centre - 3 * width) begin++;
      let s0 = 0, s1 = 0, s2 = 0, t0 = 0, t1 = 0;
      for (let i = begin; i < x.length && x[i] - centre <= 3 * width; i++) {
        const distance = x[i] - centre;
        const weight = Math.exp(-0.5 * (distance / width) ** 2);
        s0 += weight; s1 += weight * distance; s2 += weight * distance * distance;
        t0 += weight * y[i]; t1 += weight * distance * y[i];
      }
      const spread = s0 * s2 - s1 * s1;
      const value = spread > 1e-9 * s0 * s0 * width * width ? (s2 * t0 - s1 * t1) / spread : y[own];
      return Math.min(high, Math.max(low, value));
    });
  }

  // One chart ----------------------------------------------------------------------------
  // spec: series [{name, color, curve: {x, y, low, high}, dots, dashes, thin, visible}], format,
  //       smooth and log (those controls apply), ends (label the last values), limits,
  //       references [{y, name, always}]: lines, drawn where they are near the data, or always,
  //       legend, link (charts of one link switch their series on and off together).

  function chart(id, spec) {
    const host = document.getElementById(`${id}-chart`);
    if (!host) return;
    host.tabIndex = 0;
    const picture = svg("svg", { role: "img", "aria-label": spec.label }, host);
    const tip = html("div", "tip", host);
    tip.hidden = true;
    let view = null;

    function draw() {
      picture.replaceChildren();
      tip.hidden = true;
      view = null;
      const series = spec.series.filter((s) => s.visible && s.curve && s.curve.x.length);
      const width = host.clientWidth, height = host.clientHeight;
      if (!width) return;
      if (!series.length) {
        svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, picture, "nothing is switched on");
        return;
      }
      view = layout(series, width, height);
      drawAxes(view);
      for (const s of series) drawSeries(view, s);
      if (spec.ends) drawEnds(view, series);
      view.cross = svg("g", {}, picture);
    }

    function layout(series, width, height) {
      const values = series.flatMap((s) => [...s.curve.y, ...s.curve.low, ...s.curve.high]);
      const log = spec.log && options.log && values.some((value) => value > 0);
      let low = Infinity, high = -Infinity;
      for (const value of values) {
        if (log && value <= 0) continue;
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
      if (spec.zero) low = Math.min(0, low);
      for (const r of spec.references || []) {
        if (!r.always && r.y > high * 2.5) continue;
        low = Math.min(low, r.y);
        high = Math.max(high, r.y);
      }
      if (log) {
        const room = Math.max((high / low) ** 0.05, 1.02);
        low /= room; high *= room;
      } else {
        const room = 0.06 * (high - low) || 0.1 * Math.abs(high) || 1;
        high += room;
        if (!spec.zero || low < 0) low = low >= 0 ? Math.max(0, low - room) : low - room;
        if (spec.limits) {
          low = Math.max(low, spec.limits[0]);
          high = Math.min(high, spec.limits[1]);
        }
      }
      const ticks = (log ? logTicks : niceTicks)(low, high, height > 240 ? 6 : 4);
      const labels = ticks.map((t) => compact(t));
      const left = 12 + 7 * Math.max(...labels.map((text) => text.length));
      const right = width - (spec.ends ? 52 : 14);
      const top = height > 240 ? 20 : 10, bottom = height - 24;
      const scale = (value) => (log ? Math.log(Math.max(value, low)) : value);
      return {
        series, ticks, labels, left, right, top, bottom, height,
        px: (step) => left + ((right - left) * step) / (data.last_step || 1),
        py: (value) => bottom - ((bottom - top) * (scale(value) - scale(low))) / (scale(high) - scale(low)),
      };
    }

    function drawAxes({ ticks, labels, left, right, top, bottom, height, px, py }) {
      ticks.forEach((tick, i) => {
        svg("line", { class: "grid", x1: left, x2: right, y1: py(tick), y2: py(tick) }, picture);
        svg("text", { x: left - 8, y: py(tick) + 4, "text-anchor": "end" }, picture, labels[i]);
      });
      svg("line", { class: "base", x1: left, x2: right, y1: bottom, y2: bottom }, picture);
      const steps = niceTicks(0, data.last_step, Math.max(2, Math.floor((right - left) / 90))).filter(Number.isInteger);
      steps.forEach((step, i) => {
        const name = i === steps.length - 1 ? `step ${compact(step)}` : compact(step);
        svg("text", { x: px(step), y: bottom + 17, "text-anchor": "middle" }, picture, name);
      });
      const every = Math.max(1, Math.ceil(data.epochs.length / ((right - left) / 62)));
      for (const [step, done] of data.epochs) {
        if (done % every) continue;
        svg("line", { class: "epoch", x1: px(step), x2: px(step), y1: top - 4, y2: bottom }, picture);
        if (height > 240) svg("text", { x: px(step), y: top - 8, "text-anchor": "middle" }, picture, `epoch ${done}`);
      }
      for (const [step, number] of (height > 240 && data.marks) || []) {
        svg("line", { class: "found", x1: px(step), x2: px(step), y1: bottom - 14, y2: bottom }, picture);
        svg("text", { class: "found", x: px(step), y: bottom - 18, "text-anchor": "middle" }, picture, `${number}`);
      }
      for (const { y, name } of spec.references || []) {
        if (py(y) < top - 1 || py(y) > bottom + 1) continue;
        svg("line", { class: "ref", x1: left, x2: right, y1: py(y), y2: py(y) }, picture);
        if (name) svg("text", { class: "ref", x: right, y: py(y) - 5, "text-anchor": "end" }, picture, name);
      }
    }

    function drawSeries({ px, py }, s) {
      const group = svg("g", { style: `--c: var(--c${s.color})` }, picture);
      const { x, y, low, high } = s.curve;
      const path = (values) => "M" + x.map((step, i) => `${px(step).toFixed(1)},${py(values[i]).toFixed(1)}`).join("L");
      const smoothing = spec.smooth && !s.dots ? options.smoothing * data.last_step : 0;
      s.drawn = smooth(x, y, smoothing);
      if (low.length && !s.quiet) {
        const back = x.map((step, i) => `${px(step).toFixed(1)},${py(low[i]).toFixed(1)}`).reverse();
        svg("path", { class: "band", d: `${path(high)}L${back.join("L")}Z` }, group);
      } else if (smoothing && !s.quiet) {
        svg("path", { class: "raw", d: path(y) }, group);
      }
      if (x.length > 1) {
        svg("path", { class: `curve${s.dots ? " thin" : ""}${s.dashes ? " dashes" : ""}`, d: path(s.drawn) }, group);
      }
      if ((s.dots && x.length <= 120) || x.length === 1) {
        x.forEach((step, i) => svg("circle", { class: "dot", cx: px(step), cy: py(y[i]), r: 3.5 }, group));
      }
      if (s.best && x.length > 1) {
        const i = y.indexOf(Math.min(...y));
        svg("circle", { class: "best", cx: px(x[i]), cy: py(y[i]), r: 7 }, group);
      }
    }

    // The last values, as in the table, beside the axis they are read on; pushed apart until none
    // covers another.
    function drawEnds({ right, top, bottom, py }, series) {
      const last = (s) => s.last ?? s.curve.y[s.curve.y.length - 1];
      const labelled = series.length > 10 ? series.filter((s) => !s.dots) : series;
      if (labelled.length > (bottom - top) / 14) return;
      const ends = labelled.map((s) => ({ s, y: py(last(s)) })).sort((a, b) => a.y - b.y);
      for (let i = 1; i < ends.length; i++) ends[i].y = Math.max(ends[i].y, ends[i - 1].y + 14);
      for (let i = ends.length - 1, floor = bottom - 5; i >= 0; i--, floor -= 14) ends[i].y = Math.min(ends[i].y, floor);
      for (const { s, y } of ends) {
        svg("text", { class: `end${s.dots ? " eval" : ""}`, x: right + 7, y: y + 4, style: `--c: var(--c${s.color})` }, picture, spec.format(last(s)));
      }
    }

    // Nearest point of each series; an evaluation far from the pointer is not of this moment.
    function readings(step) {
      const near = view.series.map((s) => {
        const i = nearest(s.curve.x, step);
        return { s, i, distance: Math.abs(s.curve.x[i] - step) };
      });
      const reach = Math.min(...near.map((n) => n.distance)) + data.last_step * 0.004;
      return near.filter((n) => n.distance <= reach);
    }

    function point(step) {
      if (!view) return;
      const { left, right, top, bottom, px, py, cross } = view;
      const found = readings(step).sort((a, b) => b.s.curve.y[b.i] - a.s.curve.y[a.i]);
      const at = found[0].s.curve.x[found[0].i];
      host.dataset.step = at;
      cross.replaceChildren();
      svg("line", { class: "cross", x1: px(at), x2: px(at), y1: top, y2: bottom }, cross);
      tip.replaceChildren();
      const epochs = data.epochs_per_step ? `, epoch ${(at * data.epochs_per_step).toFixed(2)}` : "";
      html("div", "when", tip, `step ${Math.round(at).toLocaleString("en")}${epochs}`);
      for (const { s, i } of found) {
        const { x, y, low, high } = s.curve;
        const color = `var(--c${s.color})`;
        const dot = svg("circle", { class: "dot", cx: px(x[i]), cy: py(s.drawn[i]), r: 4 }, cross);
        dot.style.setProperty("--c", color);
        const item = html("div", "item", tip);
        item.style.setProperty("--c", color);
        html("i", s.dots ? "dots" : "", item);
        html("span", "", item, s.name);
        const value = html("b", "", item, spec.format(y[i]));
        if (low.length) html("small", "", value, `  ${spec.format(low[i])} to ${spec.format(high[i])}`);
        else if (s.drawn !== y) html("small", "", value, `  smoothed ${spec.format(s.drawn[i])}`);
      }
      tip.hidden = false;
      const beyond = px(at) + tip.offsetWidth + 16 > host.clientWidth;
      const across = beyond ? Math.max(0, px(at) - tip.offsetWidth - 14) : px(at) + 14;
      tip.style.transform = `translate(${across}px, ${Math.max(0, (bottom - tip.offsetHeight) / 2)}px)`;
    }

    function leave() {
      tip.hidden = true;
      if (view) view.cross.replaceChildren();
    }

    host.addEventListener("pointermove", (event) => {
      if (!view) return;
      const x = event.clientX - host.getBoundingClientRect().left;
      point(((x - view.left) / (view.right - view.left)) * data.last_step);
    });
    host.addEventListener("pointerleave", leave);
    host.addEventListener("blur", leave);
    host.addEventListener("keydown", (event) => {
      const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!direction || !view) return;
      event.preventDefault();
      const steps = view.series.reduce((a, b) => (a.curve.x.length >= b.curve.x.length ? a : b)).curve.x;
      const now = host.dataset.step === undefined ? steps.length - 1 - direction : nearest(steps, Number(host.dataset.step));
      point(steps[Math.min(steps.length - 1, Math.max(0, now + direction))]);
    });
    new ResizeObserver(draw).observe(host);
    redraws.push(draw);
    if (spec.legend) legend(id, spec, draw);
  }

  function nearest(sorted, value) {
    let low = 0, high = sorted.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (sorted[middle] < value) low = middle;
      else high = middle;
    }
    return Math.abs(sorted[low] - value) <= Math.abs(sorted[high] - value) ? low : high;
  }

  // One button per name: a click switches it, a double click shows it alone, in all linked charts.
  const links = new Map();

  function legend(id, spec, draw) {
    const host = document.getElementById(`${id}-legend`);
    const names = [...new Set(spec.series.filter((s) => s.curve).map((s) => s.group))];
    const buttons = new Map();
    const own = (choose) => {
      for (const s of spec.series) s.visible = choose(s);
      for (const [name, button] of buttons) {
        button.setAttribute("aria-pressed", spec.series.some((s) => s.group === name && s.visible));
      }
      draw();
    };
    const linked = links.get(spec.link) || [];
    links.set(spec.link, linked);
    linked.push(own);
    const show = (choose) => linked.forEach((apply) => apply(choose));
    for (const name of names) {
      const first = spec.series.find((s) => s.group === name && s.curve);
      const button = html("button", "", host);
      button.type = "button";
      button.title = "click: on or off; double click: this one alone";
      button.style.setProperty("--c", `var(--c${first.color})`);
      html("i", first.dashes ? "dashes" : first.dots ? "dots" : "", button);
      html("span", "", button, name);
      button.addEventListener("click", () => show((s) => (s.group === name ? !s.visible : s.visible)));
      button.addEventListener("dblclick", () => show((s) => s.group === name));
      buttons.set(name, button);
    }
    if (names.length > 3) {
      const all = html("button", "all", host, "all");
      all.addEventListener("click", () => show(() => true));
    }
    own((s) => s.visible);
  }

  // Scores -------------------------------------------------------------------------------
  // Two hills over the same borders, each the share of its own answers, so that lists with many
  // answers beside the best one can be compared with pairs.

  function histogram(id, { best, others }, borders) {
    const host = document.getElementById(`${id}-chart`);
    if (!host) return;
    const picture = svg("svg", { role: "img", "aria-label": "Scores of the best answers against the others" }, host);
    const shares = (counts) => {
      const sum = counts.reduce((a, b) => a + b, 0);
      return counts.map((count) => (sum ? count / sum : 0));
    };
    const hills = [[shares(others), "other-bars"], [shares(best), "best-bars"]];
    const first = borders[0], last = borders[borders.length - 1];

    function draw() {
      picture.replaceChildren();
      const width = host.clientWidth, height = host.clientHeight;
      if (!width) return;
      const highest = Math.max(...hills[0][0], ...hills[1][0]) * 1.06 || 1;
      const left = 46, right = width - 14, top = 8, bottom = height - 24;
      const px = (score) => left + ((right - left) * (score - first)) / (last - first);
      const py = (share) => bottom - ((bottom - top) * share) / highest;
      for (const tick of niceTicks(0, highest, 3)) {
        svg("line", { class: "grid", x1: left, x2: right, y1: py(tick), y2: py(tick) }, picture);
        svg("text", { x: left - 8, y: py(tick) + 4, "text-anchor": "end" }, picture, `${compact(tick * 100)} %`);
      }
      svg("line", { class: "base", x1: left, x2: right, y1: bottom, y2: bottom }, picture);
      for (const tick of niceTicks(first, last, Math.max(5, Math.floor((right - left) / 60)))) {
        svg("text", { x: px(tick), y: bottom + 17, "text-anchor": "middle" }, picture, compact(tick));
      }
      for (const [share, name] of hills) {
        // A path for each run of bars, so that no line is drawn along the axis between them.
        const hill = svg("g", { class: name }, picture);
        for (let from = 0; from < share.length; from++) {
          if (!share[from]) continue;
          let to = from, d = `M${px(borders[from])},${bottom}`;
          for (; share[to]; to++) d += `L${px(borders[to])},${py(share[to])}L${px(borders[to + 1])},${py(share[to])}`;
          svg("path", { class: "hill", d: `${d}L${px(borders[to])},${bottom}` }, hill);
          from = to;
        }
      }
      best.forEach((count, i) => {
        const from = px(borders[i]), to = px(borders[i + 1]);
        const bar = svg("rect", { class: "catch", x: from, y: top, width: to - from, height: bottom - top }, picture);
        const between = `score ${compact(borders[i])} to ${compact(borders[i + 1])}`;
        svg("title", {}, bar, `${between}: ${count} best answers, ${others[i]} others`);
      });
    }

    new ResizeObserver(draw).observe(host);
  }

  // The page -----------------------------------------------------------------------------

  function single(name, rest) {
    chart(name, { ...rest, series: [{ name: rest.label, color: rest.color, curve: data[name], visible: true }] });
  }

  // Those task types shown at first take the eight colours; the others repeat them, dashed.
  const ranked = [...data.task_types].sort((a, b) => b.shown - a.shown);

  function both(id, number, spec) {
    const look = { ends: true, smooth: true, legend: true, ...spec };
    chart(id, {
      ...look, label: `${spec.label} in all over steps`, link: "splits",
      series: [
        { name: "train", group: "train", color: 0, curve: number.train, last: number.last, visible: true },
        { name: "eval", group: "eval", color: 1, curve: number.eval, visible: true, dots: true, best: spec.best },
      ],
    });
    chart(`${id}-types`, {
      ...look, label: `${spec.label} per task type over steps`, link: "types",
      series: data.task_types.flatMap((type, k) => {
        const i = ranked.indexOf(type), own = number.types[k];
        const name = { name: type.name, group: type.name, color: i % 8, dashes: i >= 8, visible: type.shown, quiet: true };
        return [{ ...name, curve: own.train, last: own.last }, { ...name, curve: own.eval, name: `${type.name} (eval)`, dots: true }];
      }),
    });
  }

  both("loss", data.loss, { label: "Loss", format: lossText, log: true, best: true });
  data.metrics.forEach((metric, i) => {
    const marks = metric.mark ? [{ y: metric.mark[0], name: metric.mark[1], always: true }] : [];
    both(`metric-${i}`, metric, { label: metric.title, format: metricText, log: metric.log, limits: metric.limits, references: marks });
  });
  if (data.scores) data.scores.panels.forEach((panel, i) => histogram(`scores-${i}`, panel, data.scores.borders));
  single("learning_rate", { label: "Learning rate", color: 3, format: compact, zero: true });
  const clip = data.max_grad_norm ? [{ y: data.max_grad_norm, name: `clipped at ${data.max_grad_norm}` }] : [];
  single("grad_norm", { label: "Gradient norm", color: 2, format: compact, zero: true, references: clip });
  single("tokens_per_second", { label: "Tokens per second", color: 4, format: compact, zero: true });

  const slider = document.getElementById("smoothing"), log = document.getElementById("log");
  if (slider) {
    const update = () => {
      options.smoothing = slider.value / 100;
      options.log = log.checked;
      document.getElementById("smoothing-value").textContent = slider.value > 0 ? `${slider.value} %` : "off";
      redraws.forEach((draw) => draw());
    };
    slider.value = data.smoothing * 100;
    slider.addEventListener("input", update);
    log.addEventListener("change", update);
    update();
  }
})();
