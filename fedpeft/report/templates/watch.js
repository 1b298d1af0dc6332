"use strict";
// Asks now and then whether the run has moved on, and if so puts the new page in the place of the old.
const live = document.getElementById("live");
let version = document.documentElement.dataset.version || "";
live.hidden = false;

function openDetails() {
  return [...document.querySelectorAll("#page details")].map((element) => element.open);
}

async function refresh() {
  const text = await (await fetch("./", { cache: "no-store" })).text();
  const page = new DOMParser().parseFromString(text, "text/html");
  const open = openDetails();
  const focused = document.activeElement ? document.activeElement.id : "";
  const at = window.scrollY;
  for (const selector of ["#page", "header .state", "h1"]) {
    const there = document.querySelector(selector), fresh = page.querySelector(selector);
    if (there && fresh) there.replaceChildren(...fresh.childNodes);
  }
  const mark = document.querySelector(".watermark"), freshMark = page.querySelector(".watermark");
  if (mark) mark.remove();
  if (freshMark) document.querySelector("header").after(freshMark);
  document.title = page.title;
  document.querySelectorAll("#page details").forEach((element, i) => { element.open = open[i] || false; });
  if (focused) { const element = document.getElementById(focused); if (element) element.focus({ preventScroll: true }); }
  window.scrollTo(0, at);
}

async function look() {
  try {
    const state = await (await fetch("./state", { cache: "no-store" })).json();
    if (version && state.version !== version) await refresh();
    version = state.version;
    live.textContent = state.problem || (state.finished ? "The run is over." : "Live: " + state.text);
  } catch (error) {
    live.textContent = "No connection to `fedpeft watch`; this page is as it was then.";
  }
  setTimeout(look, 2000);
}
look();
