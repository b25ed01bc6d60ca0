// One chart: a title, the lines, a legend that shows the value under the cursor or the last one.

import { BINARY_STEPS, seriesName, show, showTime, tick } from "./format.js";

const LIGHT = ["#0b6e8f", "#d9822b", "#3a9d5d", "#b8479b", "#5b6bd5", "#c4453a", "#7a8b2a", "#2aa5a0", "#8a5fc7", "#947047"];
const DARK = ["#4fb8d8", "#f0a35e", "#62c98a", "#e37bc8", "#8f9bf5", "#f47c72", "#b3c455", "#55d0c9", "#b693ea", "#c4a27c"];
const HEIGHT = 170;
const LINES_MAX = 60;

export function palette() {
  return document.documentElement.dataset.theme === "dark" ? DARK : LIGHT;
}

function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Fill between stacked lines: each line is the sum of those before it. */
function stack(columns) {
  const sums = new Array(columns[0]?.length ?? 0).fill(0);
  return columns.map((column) => column.map((value, i) => (value === null ? null : (sums[i] += value))));
}

export class Chart {
  /** `options`: title, href, unit, stacked, min, max, height, longLegend, headline(series). */
  constructor(parent, options) {
    this.options = options;
    this.root = document.createElement("article");
    this.root.className = "panel";
    if (options.title) {
      const heading = document.createElement("h3");
      const name = document.createElement(options.href ? "a" : "span");
      name.textContent = options.title;
      if (options.href) name.href = options.href;
      this.headline = document.createElement("output");
      heading.append(name, this.headline);
      this.root.append(heading);
    }
    this.plot = document.createElement("div");
    this.plot.className = "plot";
    this.plot.setAttribute("role", "img");
    this.plot.style.minHeight = `${options.height ?? HEIGHT}px`;
    this.legend = document.createElement("ul");
    this.legend.className = options.longLegend ? "legend long" : "legend";
    this.root.append(this.plot, this.legend);
    parent.append(this.root);
    this.note("waiting", "Loading");
    this.resized = new ResizeObserver(() => this.fit());
    this.resized.observe(this.plot);
  }

  /** Words in place of lines. */
  note(kind, text) {
    this.noted?.remove();
    this.noted = undefined;
    if (!text) return;
    this.noted = document.createElement("div");
    this.noted.className = "note";
    this.noted.dataset.kind = kind;
    this.noted.append(document.createTextNode(text));
    this.plot.append(this.noted);
  }

  fit() {
    const width = this.plot.clientWidth;
    if (this.uplot && width > 0 && width !== this.uplot.width) {
      this.uplot.setSize({ width, height: this.options.height ?? HEIGHT });
    }
  }

  /** Drops the drawing, so that the next data is drawn in the colours of the theme. */
  restyle() {
    this.uplot?.destroy();
    this.uplot = undefined;
    this.shape = undefined;
    if (this.last) this.draw(...this.last);
  }

  fail(message) {
    if (!this.uplot) this.note("error", message);
    this.root.dataset.state = "error";
  }

  /** `matrix` as the API answers it, over the window it was asked for. */
  draw(matrix, window, nameOf = (labels) => seriesName(labels)) {
    this.last = [matrix, window, nameOf];
    const count = Math.round((window.end - window.start) / window.step) + 1;
    const times = Array.from({ length: count }, (_, i) => window.start + i * window.step);
    const lines = matrix.slice(0, LINES_MAX).map((series) => {
      const values = new Array(count).fill(null);
      for (const [at, text] of series.values) {
        const i = Math.round((at - window.start) / window.step);
        const value = text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text);
        if (i >= 0 && i < count && Number.isFinite(value)) values[i] = value;
      }
      return { name: nameOf(series.metric), values };
    });
    this.root.dataset.state = lines.length ? "ready" : "empty";
    this.root.dataset.draws = String(Number(this.root.dataset.draws ?? 0) + 1);
    if (!lines.length) {
      this.uplot?.destroy();
      this.uplot = undefined;
      this.shape = undefined;
      this.legend.replaceChildren();
      if (this.headline) this.headline.textContent = "";
      this.note("empty", this.options.empty ?? "No data in this time range");
      return;
    }
    this.note();
    this.lines = lines;
    this.cut = matrix.length - lines.length;
    this.root.dataset.end = String(window.end);
    const columns = lines.map((line) => line.values);
    const data = [times, ...(this.options.stacked ? stack(columns) : columns)];
    const shape = lines.map((line) => line.name).join("\n");
    if (this.uplot && shape === this.shape) {
      this.uplot.setData(data, false);
      this.uplot.setScale("x", { min: window.from ?? window.start, max: window.end });
    } else {
      this.uplot?.destroy();
      this.shape = shape;
      this.build(data, window);
    }
    this.writeLegend();
  }

  build(data, window) {
    const colours = palette();
    const { unit, stacked, min, max } = this.options;
    const axis = {
      stroke: css("--faint"), font: "11px system-ui, sans-serif",
      grid: { stroke: css("--grid"), width: 1 }, ticks: { show: false },
    };
    const series = this.lines.map((line, i) => {
      const stroke = this.options.colours?.[line.name] ?? colours[i % colours.length];
      line.colour = stroke;
      return {
        label: line.name, stroke, width: stacked ? 1 : 1.6, points: { show: false },
        fill: stacked ? `${stroke}b0` : this.lines.length === 1 ? `${stroke}22` : undefined,
      };
    });
    // A stacked line is filled down to the one below it.
    const bands = stacked ? series.slice(1).map((_, i) => ({ series: [i + 2, i + 1] })) : [];
    this.drawn = series.map((one) => one.stroke);
    this.uplot = new uPlot({
      width: Math.max(this.plot.clientWidth, 50), height: this.options.height ?? HEIGHT,
      // Half of a time with seconds reaches beyond its mark.
      padding: [8, 26, 0, 0], legend: { show: false }, bands,
      cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
      scales: {
        x: { time: true, min: window.from ?? window.start, max: window.end },
        y: { range: (_, low, high) => this.bounds(low, high, min, max) },
      },
      axes: [
        { ...axis, size: 24, space: 58, values: (_, marks, __, ___, step) => marks.map((at) => tick(at, step)) },
        {
          ...axis, size: 66, space: 32, values: (_, marks) => marks.map((mark) => show(mark, unit)),
          ...(unit?.startsWith("bytes") ? { incrs: BINARY_STEPS } : {}),
        },
      ],
      series: [{}, ...series],
      hooks: { setCursor: [() => this.writeLegend()] },
    }, data, this.plot);
    this.uplot.setScale("x", { min: window.from ?? window.start, max: window.end });
  }

  bounds(low, high, min, max) {
    if (low === null || high === null) return [min ?? 0, max ?? 1];
    let bottom = min ?? Math.min(low, low >= 0 && low < high * 0.5 ? 0 : low);
    let top = max ?? high;
    if (top <= bottom) [bottom, top] = [bottom - Math.abs(bottom) * 0.1, bottom + (Math.abs(bottom) * 0.1 || 1)];
    return [bottom, max ?? top + (top - bottom) * 0.06];
  }

  writeLegend() {
    const { unit, headline, title } = this.options;
    const at = this.uplot?.cursor?.idx;
    const hovering = at !== null && at !== undefined;
    const valueOf = (line) => (hovering ? line.values[at] : line.values.findLast((v) => v !== null));
    if (this.shown !== this.shape) {
      this.shown = this.shape;
      this.legend.replaceChildren(...this.lines.map((line, i) => {
        const item = document.createElement("li");
        const dot = document.createElement("i");
        dot.style.background = this.drawn[i];
        const name = document.createElement("span");
        name.textContent = name.title = line.name;
        item.append(dot, name, document.createElement("b"));
        return item;
      }));
      if (this.cut > 0) {
        const more = document.createElement("li");
        more.textContent = `and ${this.cut} more, not drawn`;
        this.legend.append(more);
      }
    } else {
      this.drawn.forEach((colour, i) => { this.legend.children[i].firstChild.style.background = colour; });
    }
    this.lines.forEach((line, i) => { this.legend.children[i].lastChild.textContent = show(valueOf(line), unit); });
    this.legend.hidden = this.lines.length === 1 && Boolean(headline || title);
    if (this.headline) {
      const value = headline ? headline(this.lines, valueOf) : this.lines.length === 1 ? valueOf(this.lines[0]) : undefined;
      this.headline.textContent = value === undefined ? "" : show(value, unit);
    }
    const words = this.lines.slice(0, 8).map((line) => `${line.name} ${show(valueOf(line), unit)}`).join(", ");
    this.plot.setAttribute("aria-label", `${title ?? "Answer"}: ${words}`);
    this.root.title = hovering ? showTime(this.uplot.data[0][at]) : "";
  }

  remove() {
    this.resized.disconnect();
    this.uplot?.destroy();
    this.root.remove();
  }
}
