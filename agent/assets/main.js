// Which view is shown, over which time, and when it is asked again.

import { steps } from "./api.js";
import { Explore } from "./explore.js";
import { Overview } from "./overview.js";

const $ = (id) => document.getElementById(id);
const remembered = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
const remember = (name, value) => { try { localStorage.setItem(name, value); } catch { /* private window */ } };

const dark = matchMedia("(prefers-color-scheme: dark)");
function setTheme(theme) {
  document.documentElement.dataset.theme = theme ?? (dark.matches ? "dark" : "light");
}
setTheme(remembered("theme"));

let live = true;
let view = "overview";
let timer;
let turn;
let sawNames = -Infinity;

const overview = new Overview();
const explore = new Explore({
  changed: (expr) => history.replaceState(null, "", address("explore", expr)),
});
overview.onVisible = () => { if (view === "overview") refreshSoon(50); };

function address(name, expr) {
  return expr ? `#${name}?q=${encodeURIComponent(expr)}` : `#${name}`;
}

/** `#explore?q=...` and `#overview`. */
function followAddress() {
  const [name, query] = location.hash.slice(1).split("?");
  view = name === "explore" ? "explore" : "overview";
  for (const each of ["overview", "explore"]) {
    $(`view-${each}`).hidden = each !== view;
    const link = document.querySelector(`[data-view="${each}"]`);
    if (each === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = view === "explore" ? "Explore · Tidegauge" : "Tidegauge";
  const expr = new URLSearchParams(query ?? "").get("q");
  if (view === "explore") {
    $("expr").focus({ preventScroll: true });
    if (expr && expr !== explore.expr) explore.run(expr);
  }
  refreshSoon(0);
}

function setStatus(state, words) {
  $("status").dataset.state = state;
  $("status").lastElementChild.textContent = words;
}

/** Short ranges every second and a half, long ones as often as something can change. */
function pause(range) {
  return range <= 900 ? 1500 : range <= 21600 ? 5000 : 30000;
}

function refreshSoon(wait) {
  clearTimeout(timer);
  timer = setTimeout(refresh, wait);
}

async function refresh() {
  const range = Number($("range").value);
  const shown = view === "explore" ? explore : overview;
  turn?.abort();
  const mine = (turn = new AbortController());
  const slow = setTimeout(() => mine.abort(), 30000);
  try {
    const window = steps(range);
    const reached = await shown.refresh(window, mine.signal);
    if (view === "explore" && performance.now() - sawNames > 15000 && reached) {
      await explore.loadNames(mine.signal);
      sawNames = performance.now();
    }
    setStatus(reached ? (live ? "live" : "paused") : "lost", reached ? (live ? "live" : "paused") : "no answer");
    $("banner").hidden = reached;
    $("banner").textContent = reached ? "" : "The agent does not answer. Trying again.";
  } catch (error) {
    if (error.name !== "AbortError") {
      console.error(error);
      setStatus("lost", "error");
    }
    if (mine !== turn) return;
  } finally {
    clearTimeout(slow);
  }
  if (mine === turn && live && !document.hidden) refreshSoon(pause(range));
}

$("range").value = remembered("range") ?? "300";
if (!$("range").value) $("range").value = "300";
$("range").addEventListener("change", () => {
  remember("range", $("range").value);
  refreshSoon(0);
});
$("live").addEventListener("click", () => {
  live = !live;
  $("live").setAttribute("aria-pressed", String(live));
  $("live").textContent = live ? "Live" : "Paused";
  refreshSoon(0);
});
$("theme").addEventListener("click", () => {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  remember("theme", next);
  setTheme(next);
  overview.restyle();
  explore.restyle();
});
dark.addEventListener("change", () => {
  setTheme(remembered("theme"));
  overview.restyle();
  explore.restyle();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) refreshSoon(0); });
addEventListener("hashchange", followAddress);
followAddress();
