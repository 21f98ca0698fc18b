// Keeps the page's live part up to date, and moments told as people say them. Everything works without it.
"use strict";
(() => {
  const live = document.getElementById("live");
  const pulse = document.getElementById("pulse");

  const span = (seconds) => {
    let left = Math.floor(seconds);
    if (left >= 60) left -= left % 60;
    const parts = [];
    for (const [name, length] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]]) {
      if (left >= length && parts.length < 2) {
        parts.push(`${Math.floor(left / length)} ${name}`);
        left %= length;
      } else if (parts.length) break;
    }
    return parts.join(" ") || "0 s";
  };
  // The node's clock, not the reader's: a phone may be minutes off.
  const ahead = () => Number(document.body.dataset.ahead || 0);
  const tell = () => {
    const now = Date.now() + ahead();
    for (const each of document.querySelectorAll("time[data-ago]")) {
      const length = (Date.parse(each.dateTime) - now) / 1000;
      const told = Math.abs(length) < 1 ? "now" : length < 0 ? `${span(-length)} ago` : `in ${span(length)}`;
      if (each.textContent !== told) each.textContent = told;
    }
  };
  const clock = document.body.dataset.now;
  if (clock) document.body.dataset.ahead = String(Date.parse(clock) - Date.now());
  setInterval(tell, 5000);

  if (!live || !window.EventSource) return;
  const show = (html) => {
    const active = document.activeElement;
    const inside = live.contains(active) ? active.getAttribute("href") || active.id : null;
    const scrolled = [...live.querySelectorAll(".figure")].map((each) => each.scrollLeft);
    const open = [...live.querySelectorAll("details[open]")].map((each) => each.id);
    live.innerHTML = html;
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    [...live.querySelectorAll(".figure")].forEach((each, place) => { each.scrollLeft = scrolled[place] || 0; });
    if (inside) {
      const again = [...live.querySelectorAll("a, [id]")].find((each) => (each.getAttribute("href") || each.id) === inside);
      if (again) again.focus({ preventScroll: true });
    }
    tell();
  };
  let source = null;
  const watch = () => {
    if (source || document.hidden) return;
    source = new EventSource(location.href);
    source.addEventListener("part", (event) => {
      show(JSON.parse(event.data).html);
      if (pulse) { pulse.hidden = false; pulse.classList.remove("fresh"); void pulse.offsetWidth; pulse.classList.add("fresh"); }
    });
    source.addEventListener("over", () => { source.close(); source = null; if (pulse) pulse.hidden = true; });
    source.onerror = () => { if (pulse) pulse.hidden = true; };
  };
  const rest = () => { if (source) { source.close(); source = null; } };
  document.addEventListener("visibilitychange", () => (document.hidden ? rest() : watch()));
  window.addEventListener("pagehide", rest);
  window.addEventListener("pageshow", watch);
  watch();
})();
