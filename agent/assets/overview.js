// The panels of the overview, and the tiles above them.

import { query, queryRange } from "./api.js";
import { Chart } from "./chart.js";
import { parts, show } from "./format.js";

const DEVICES = 'device!~"loop.*|ram.*|dm-.*|sr.*|zram.*"';
const LINKS = 'device!~"lo|veth.*|docker.*|br-.*"';

/** `$w` becomes the window of rates. */
const MACHINE = [
  {
    title: "CPU", unit: "percent", stacked: true, min: 0,
    expr: '100 * sum by (mode) (rate(node_cpu_seconds_total{mode!="idle"}[$w])) / scalar(count(node_cpu_seconds_total{mode="idle"}))',
    name: (l) => l.mode, order: ["user", "system", "iowait", "nice", "irq", "softirq", "steal"],
    headline: (lines, valueOf) => lines.reduce((sum, line) => sum + (valueOf(line) ?? 0), 0),
  },
  {
    title: "Load", unit: "number", min: 0,
    expr: 'label_replace(node_load1, "over", "1 min", "", "") or label_replace(node_load5, "over", "5 min", "", "") or label_replace(node_load15, "over", "15 min", "", "")',
    name: (l) => l.over, order: ["1 min", "5 min", "15 min"],
  },
  {
    title: "Memory", unit: "bytes", stacked: true, min: 0,
    expr: 'label_replace(node_memory_MemTotal_bytes - node_memory_MemAvailable_bytes, "what", "used", "", "") or label_replace(node_memory_MemAvailable_bytes - node_memory_MemFree_bytes, "what", "cache", "", "") or label_replace(node_memory_MemFree_bytes, "what", "free", "", "")',
    name: (l) => l.what, order: ["used", "cache", "free"],
    headline: (lines, valueOf) => valueOf(lines[0]),
  },
  {
    title: "Disk", unit: "bytesPerSecond", min: 0,
    expr: `label_replace(sum(rate(node_disk_read_bytes_total{${DEVICES}}[$w])), "what", "read", "", "") or label_replace(sum(rate(node_disk_written_bytes_total{${DEVICES}}[$w])), "what", "written", "", "")`,
    name: (l) => l.what, order: ["read", "written"],
  },
  {
    title: "Network", unit: "bytesPerSecond", min: 0,
    expr: `label_replace(sum(rate(node_network_receive_bytes_total{${LINKS}}[$w])), "what", "received", "", "") or label_replace(sum(rate(node_network_transmit_bytes_total{${LINKS}}[$w])), "what", "sent", "", "")`,
    name: (l) => l.what, order: ["received", "sent"],
  },
  {
    title: "Processes", unit: "number", min: 0,
    expr: 'label_replace(node_procs_running, "what", "running", "", "") or label_replace(node_procs_blocked, "what", "blocked", "", "")',
    name: (l) => l.what, order: ["running", "blocked"],
  },
];

const ENGINE = [
  { title: "Ingest", unit: "perSecond", min: 0, expr: "rate(tidegauge_samples_total[$w])", name: () => "samples" },
  {
    title: "Push latency", unit: "seconds", min: 0,
    empty: "No push was timed yet: an appender's eighth is, and each 1,024th after it",
    expr: 'tidegauge_push_seconds{quantile=~"0.5|0.99|0.999"}', name: (l) => `p${+(l.quantile * 100).toFixed(1)}`,
  },
  {
    title: "fdatasync", unit: "seconds", min: 0,
    expr: 'tidegauge_fdatasync_seconds{quantile=~"0.5|0.99|0.999"}', name: (l) => `p${+(l.quantile * 100).toFixed(1)}`,
  },
  {
    title: "Where samples are", unit: "number", stacked: true, min: 0,
    expr: 'label_replace(tidegauge_segment_samples, "what", "segments", "", "") or label_replace(tidegauge_memtable_samples, "what", "memtables", "", "")',
    name: (l) => l.what, order: ["segments", "memtables"],
  },
  {
    title: "Memory of the agent", unit: "bytes", min: 0,
    expr: 'label_replace(process_resident_memory_bytes{job="tidegauge"}, "what", "resident", "", "") or label_replace(tidegauge_memtable_bytes, "what", "memtables", "", "") or label_replace(tidegauge_lane_bytes, "what", "lanes", "", "")',
    name: (l) => l.what, order: ["resident", "memtables", "lanes"],
  },
  { title: "Queries", unit: "perSecond", min: 0, expr: "rate(tidegauge_queries_total[$w])", name: () => "queries" },
];

const TILES = [
  {
    title: "Ingest", unit: "perSecond", note: "samples made visible",
    expr: "sum(rate(tidegauge_samples_total[10s])) and on() tidegauge_uptime_seconds > 10",
  },
  { title: "Series", unit: "number", expr: "tidegauge_series", note: "active in the engine" },
  { title: "Samples", unit: "number", expr: "tidegauge_segment_samples + tidegauge_memtable_samples", note: "stored" },
  {
    title: "On disk", unit: "bytes", note: "segments and log",
    expr: 'label_replace(tidegauge_segment_bytes, "what", "segments", "", "") or label_replace(tidegauge_wal_file_bytes, "what", "log", "", "")',
    parts: ["segments", "log"],
  },
  {
    // What a segment has beside its columns weighs more than the first samples.
    title: "Bytes a sample", unit: "number", note: "in segments, from 100,000 samples on",
    expr: "tidegauge_segment_bytes / (tidegauge_segment_samples >= 100000)",
  },
  { title: "Up", unit: "seconds", expr: "tidegauge_uptime_seconds", note: "since the agent began" },
];

/** Rates need a few samples; wide steps need wide windows. Seconds. */
function rateWindow(step) {
  return Math.max(10, 4 * step);
}

/** Without what is no rate yet: a series that begins within the picture has no whole window behind its first values. */
export function whole(matrix, { start, step }, seconds) {
  const from = (series) => (series.values[0][0] <= start + step ? start : series.values[0][0] + seconds);
  const cut = matrix.map((series) => {
    const first = from(series);
    return { ...series, values: series.values.filter(([at]) => at >= first) };
  });
  return cut.filter((series) => series.values.length);
}

function inOrder(matrix, panel) {
  if (!panel.order) return matrix;
  const place = (series) => (panel.order.indexOf(panel.name(series.metric)) + panel.order.length + 1) % (panel.order.length + 1);
  return matrix.toSorted((a, b) => place(a) - place(b));
}

/** Where to begin to draw: a store that is younger than the window fills it all the same. */
function beginning(answers, { start, end, step }) {
  const firsts = answers.flatMap(({ matrix = [] }) => matrix.map((series) => series.values[0][0]));
  const first = Math.min(end, ...firsts);
  return Math.max(start, Math.min(first, end - 30 * step));
}

export class Overview {
  constructor() {
    this.visible = new Set();
    this.watch = new IntersectionObserver((changes) => {
      for (const change of changes) {
        if (change.isIntersecting) this.visible.add(change.target);
        else this.visible.delete(change.target);
      }
      this.onVisible?.();
    }, { rootMargin: "200px" });
    const make = (id, panels) => panels.map((panel) => {
      const chart = new Chart(document.getElementById(id), {
        empty: panel.expr.includes("$w") ? "The first rate comes after 10 s" : "No data yet", ...panel, href: `#explore?q=${encodeURIComponent(panel.expr.replaceAll("$w", "1m"))}`,
      });
      this.watch.observe(chart.root);
      return { panel, chart };
    });
    this.panels = [...make("machine", MACHINE), ...make("engine", ENGINE)];
    this.tiles = TILES.map((tile) => {
      const root = document.createElement("dl");
      root.className = "tile";
      root.style.margin = "0";
      const [name, value, note] = ["dt", "dd", "p"].map((kind) => document.createElement(kind));
      name.textContent = tile.title;
      value.textContent = "–";
      note.textContent = tile.note;
      root.append(name, value, note);
      document.getElementById("tiles").append(root);
      return { tile, value, note };
    });
  }

  /** Asks for everything that can be seen. Answers whether the agent was reached. */
  async refresh(window, signal) {
    const seen = this.panels.filter(({ chart }) => this.visible.has(chart.root));
    const answers = seen.map(async ({ panel, chart }) => {
      try {
        const seconds = rateWindow(window.step);
        const { data } = await queryRange(panel.expr.replaceAll("$w", `${seconds}s`), window, signal);
        const matrix = panel.expr.includes("$w") ? whole(data.result, window, seconds) : data.result;
        return { panel, chart, matrix: inOrder(matrix, panel) };
      } catch (error) {
        if (error.name === "AbortError") throw error;
        chart.fail(error.message);
        return { lost: error.lost };
      }
    });
    const asks = this.tiles.map(async ({ tile, value, note }) => {
      try {
        const { data } = await query(tile.expr, undefined, signal);
        const found = data.result.map((series) => Number(series.value[1]));
        const [number, unit] = found.length ? parts(found.reduce((a, b) => a + b), tile.unit) : ["–", ""];
        if (tile.parts && found.length) {
          const said = data.result.map(({ metric, value: [, size] }) => [metric.what, show(Number(size), tile.unit)]);
          said.sort(([a], [b]) => tile.parts.indexOf(a) - tile.parts.indexOf(b));
          note.textContent = said.map((one) => one.join(" ").replaceAll(" ", "\u00a0")).join(" · ");
        }
        const small = document.createElement("small");
        small.textContent = unit;
        value.replaceChildren(number, small);
        return true;
      } catch (error) {
        if (error.name === "AbortError") throw error;
        return !error.lost;
      }
    });
    const tiles = Promise.all(asks);
    // Given up together with the charts: that is told once, by them.
    tiles.catch(() => {});
    const drawn = await Promise.all(answers);
    const shown = { ...window, from: beginning(drawn, window) };
    for (const { panel, chart, matrix } of drawn) if (chart) chart.draw(matrix, shown, panel.name);
    const reached = await tiles;
    return reached.every(Boolean) && drawn.every(({ lost }) => !lost);
  }

  restyle() {
    for (const { chart } of this.panels) chart.restyle();
  }
}
