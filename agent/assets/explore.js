// Any expression, as a chart or as a table; and which metrics there are.

import { metadata, metricNames, query, queryRange } from "./api.js";
import { Chart } from "./chart.js";
import { seriesName, showTime } from "./format.js";

const ROWS_MAX = 500;
const NAMES_MAX = 400;
const $ = (id) => document.getElementById(id);

export class Explore {
  /** `changed` is called with the expression once it was run, for the address bar. */
  constructor({ changed }) {
    this.changed = changed;
    this.as = "chart";
    this.expr = "";
    this.names = [];
    this.about = {};
    $("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      this.run($("expr").value);
    });
    $("expr").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        this.run($("expr").value);
      }
    });
    for (const as of ["chart", "table"]) $(`as-${as}`).addEventListener("click", () => this.showAs(as));
    $("metric-filter").addEventListener("input", () => this.listNames());
    $("metric-list").addEventListener("click", (event) => {
      const name = event.target.closest("button")?.textContent;
      if (name) this.run(this.suggest(name));
    });
  }

  /** What one most likely wants to see of a metric. */
  suggest(name) {
    const plain = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(name);
    const selector = plain ? name : `{${JSON.stringify(name)}}`;
    const kind = this.about[name]?.[0]?.type;
    return kind === "counter" || (!kind && name.endsWith("_total")) ? `rate(${selector}[1m])` : selector;
  }

  async loadNames(signal) {
    [this.names, this.about] = await Promise.all([metricNames(signal), metadata(signal).catch(() => ({}))]);
    this.listNames();
  }

  listNames() {
    const wanted = $("metric-filter").value.trim().toLowerCase();
    const found = this.names.filter((name) => name.toLowerCase().includes(wanted));
    $("metric-count").textContent = this.names.length ? `(${found.length})` : "";
    const items = found.slice(0, NAMES_MAX).map((name) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      const about = this.about[name]?.[0];
      button.title = about ? `${name}\n${about.type}: ${about.help}` : name;
      item.append(button);
      return item;
    });
    if (found.length > NAMES_MAX || !found.length) {
      const item = document.createElement("li");
      item.className = "none";
      item.textContent = found.length ? `and ${found.length - NAMES_MAX} more: filter by name` : this.names.length ? "No metric has such a name" : "No metrics yet";
      items.push(item);
    }
    $("metric-list").replaceChildren(...items);
  }

  showAs(as) {
    this.as = as;
    for (const each of ["chart", "table"]) $(`as-${each}`).setAttribute("aria-pressed", String(each === as));
    this.ask(this.window);
  }

  /** Puts `expr` in the box and asks it. */
  run(expr) {
    this.expr = expr.trim();
    $("expr").value = this.expr;
    this.changed(this.expr);
    this.asked = undefined;
    return this.ask(this.window);
  }

  /** Asks the current expression over `window`. Answers whether the agent was reached. */
  async refresh(window, signal) {
    this.window = window;
    return this.ask(window, signal);
  }

  async ask(window, signal) {
    $("answer-hint").hidden = Boolean(this.expr);
    if (!this.expr || !window) {
      this.facts("");
      return true;
    }
    const began = performance.now();
    const turn = (this.turn = Symbol("turn"));
    try {
      const answer = this.as === "chart"
        ? await queryRange(this.expr, window, signal)
        : await query(this.expr, undefined, signal);
      if (turn !== this.turn) return true;
      const { resultType, result } = answer.data;
      this.answered = this.expr;
      this.error();
      this.notes([...(answer.warnings ?? []), ...(answer.infos ?? [])]);
      const count = resultType === "matrix" || resultType === "vector" ? result.length : 1;
      this.facts(`${count} series in ${Math.round(performance.now() - began)} ms`);
      if (this.as === "chart") this.drawChart(result, window);
      else this.drawTable(resultType, result);
      return true;
    } catch (error) {
      if (error.name === "AbortError") throw error;
      if (turn !== this.turn) return true;
      // What was drawn for this expression stays while nobody answers: the banner says so. Else it is not what was asked.
      if (error.lost && this.answered === this.expr) return false;
      this.clear();
      this.error(error.message);
      return !error.lost;
    }
  }

  /** Nothing of an earlier answer is left. */
  clear() {
    this.answered = undefined;
    this.chart?.remove();
    this.chart = undefined;
    $("answer-table").hidden = true;
    $("answer-table").replaceChildren();
    this.notes([]);
    this.facts("");
  }

  drawChart(result, window) {
    this.chart ??= new Chart($("answer-chart"), { height: 380, longLegend: true });
    $("answer-table").hidden = true;
    $("answer-chart").hidden = false;
    this.chart.draw(result, window);
  }

  drawTable(type, result) {
    $("answer-chart").hidden = true;
    $("answer-table").hidden = false;
    const rows = type === "vector" ? result.map((s) => [seriesName(s.metric), s.value[1]])
      : type === "matrix" ? result.flatMap((s) => s.values.map(([at, v]) => [`${seriesName(s.metric)} @ ${showTime(at)}`, v]))
      : [[type, result[1]]];
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    for (const [text, kind] of [["Series", ""], ["Value", "value"]]) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.className = kind;
      cell.textContent = text;
      head.append(cell);
    }
    const body = table.createTBody();
    for (const [name, value] of rows.slice(0, ROWS_MAX)) {
      const row = body.insertRow();
      row.insertCell().textContent = name;
      const cell = row.insertCell();
      cell.className = "value";
      cell.textContent = value;
    }
    const words = document.createElement("p");
    words.textContent = !rows.length ? "No series match." : `and ${rows.length - ROWS_MAX} more`;
    $("answer-table").replaceChildren(table, ...(rows.length === 0 || rows.length > ROWS_MAX ? [words] : []));
  }

  error(message) {
    $("answer-error").hidden = !message;
    $("answer-error").textContent = message ?? "";
  }

  notes(notes) {
    $("answer-notes").hidden = !notes.length;
    $("answer-notes").textContent = notes.join("\n");
  }

  facts(text) {
    $("answer-facts").textContent = text;
  }

  restyle() {
    this.chart?.restyle();
  }
}
