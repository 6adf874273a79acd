// The front page: puts this address into the snippets, makes them copyable, and shows health as it is now.
"use strict";

const REFRESH_MS = 5000;
const say = (text) => { document.getElementById("said").textContent = text; };

// --- snippets -------------------------------------------------------------------------------------------------
const http = location.origin;
const ws = http.replace(/^http/, "ws");
for (const code of document.querySelectorAll("pre code")) {
  code.textContent = code.textContent.replaceAll("{http}", http).replaceAll("{ws}", ws);
  const pre = code.parentElement;
  pre.tabIndex = 0; // long lines scroll, by keyboard too
  const block = document.createElement("div");
  block.className = "block";
  pre.replaceWith(block);
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", () => copy(code, button));
  block.append(button, pre);
}

async function copy(code, button) {
  let done = true;
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch {
    // Without TLS the clipboard is closed to pages: select, so that one key copies.
    getSelection().selectAllChildren(code);
    done = false;
  }
  button.textContent = done ? "Copied" : "Press Ctrl+C";
  say(done ? "Copied" : "Selected; press Control C to copy");
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

// --- tabs (the pattern of the ARIA authoring practices) ---------------------------------------------------------
const tabs = [...document.querySelectorAll("[role=tab]")];
function select(chosen, focus) {
  for (const tab of tabs) {
    const on = tab === chosen;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !on;
  }
  if (focus) chosen.focus();
}
tabs.forEach((tab, index) => {
  tab.addEventListener("click", () => select(tab, false));
  tab.addEventListener("keydown", ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (step) select(tabs[(index + step + tabs.length) % tabs.length], true);
    if (key === "Home") select(tabs[0], true);
    if (key === "End") select(tabs[tabs.length - 1], true);
  });
});
select(tabs[0], false);

// --- health -----------------------------------------------------------------------------------------------------
const WORDS = { ok: "Ready", degraded: "Degraded", down: "Not ready", unreachable: "Unreachable" };

function tone(status) {
  if (["ok", "up", "ready", "healthy", "connected"].includes(status)) return "ok";
  if (["none", "off", "disabled", "not_configured", "unused", "in_process"].includes(status)) return "none";
  return ["degraded", "simulator", "simulated", "unknown"].includes(status) ? "degraded" : "down";
}

function show(part, text, state) {
  for (const place of document.querySelectorAll(`[data-part="${part}"]`)) {
    place.textContent = text;
    place.dataset.state = state;
  }
}

function duration(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first < 0) return "0 s";
  const [unit, size] = units[first];
  const next = units[first + 1];
  const rest = next ? Math.floor((seconds % size) / next[1]) : 0;
  return `${Math.floor(seconds / size)} ${unit}${rest ? ` ${rest} ${next[0]}` : ""}`;
}

function showState(state) {
  const place = document.getElementById("state");
  place.dataset.state = state === "unreachable" ? "down" : state;
  const text = document.getElementById("state-text");
  if (text.textContent !== WORDS[state]) text.textContent = WORDS[state];
}

async function refresh() {
  try {
    const answer = await fetch("/health", { cache: "no-store", signal: AbortSignal.timeout(4000) });
    const health = await answer.json();
    const state = health.status === "ok" ? "ok" : answer.ok ? "degraded" : "down";
    showState(state);
    show("status", WORDS[state], state);
    show("version", health.version ?? "–", "none");
    show("uptime", Number.isFinite(health.uptime) ? duration(health.uptime) : health.uptime ?? "–", "none");
    for (const [part, found] of Object.entries(health.components ?? {})) {
      const status = String(found?.status ?? found ?? "–");
      show(part, status.replaceAll("_", " "), tone(status));
    }
  } catch {
    showState("unreachable");
    show("status", WORDS.unreachable, "down");
    for (const part of ["database", "upstream", "quota", "uptime"]) show(part, "–", "none");
  }
}

async function watch() {
  if (!document.hidden) await refresh();
  setTimeout(watch, REFRESH_MS);
}
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
watch();
