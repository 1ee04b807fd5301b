"use strict";
// The list of problems: filtered by outcome and words, filled in as it is opened.
const PAGE = 50;
const TITLES = {ir: "System 1", kg: "What one must know", dr: "System 2"};
const FILTERS = {
  all: () => true,
  "agreed-wrong": (p) => p.agreed && !p.right,
  "agreed-right": (p) => p.agreed && p.right,
  never: (p) => !p.agreed,
  unparsed: (p) => p.unparsed > 0,
};
const by = (id) => document.getElementById(id);
let problems = [], found = [], shown = 0;

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;  // never as HTML: texts are a model's
  if (className) made.className = className;
  return made;
}

async function unpacked() {
  const bytes = Uint8Array.from(atob(by("data").textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

function outcome(p) {
  const answer = p.answer === null ? "no answer" : p.answer;
  const how = p.agreed ? `agreed in round ${p.agreed}` : "never agreed";
  return `${p.right ? "right" : "wrong"}, ${how}: ${answer}` + (p.right ? "" : `, not ${p.gold}`);
}

function roundOf(round) {
  const box = element("section", undefined, "round");
  box.append(element("h4", `Round ${round.n}`));
  const texts = element("div", undefined, "texts");
  for (const role of ["ir", "kg", "dr"]) {
    const sample = round[role];
    if (!sample) continue;
    const part = element("div");
    part.append(element("strong", TITLES[role]));
    if (sample.t !== undefined) part.append(element("pre", sample.t));
    if (sample.a !== undefined) part.append(element("div", `votes for ${sample.a}`));
    if (sample.why !== undefined) part.append(element("div", `no vote: ${sample.why}`, "dim"));
    texts.append(part);
  }
  box.append(texts);
  return box;
}

function item(p) {
  const line = element("li"), details = element("details"), summary = element("summary");
  summary.append(element("span", `#${p.id} `), element("span", outcome(p), p.right ? "right" : "wrong"));
  details.append(summary, element("p", p.q));
  details.addEventListener("toggle", () => {
    if (!details.open || details.dataset.filled) return;
    details.dataset.filled = "1";
    details.append(element("p", `Right answer: ${p.gold}${p.topic ? `; topic: ${p.topic}` : ""}`));
    details.append(...p.rounds.map(roundOf));
  });
  line.append(details);
  return line;
}

function more() {
  by("list").append(...found.slice(shown, shown + PAGE).map(item));
  shown = Math.min(shown + PAGE, found.length);
  by("more").hidden = shown >= found.length;
}

function refresh() {
  const words = by("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  const keep = FILTERS[by("filter").value];
  const text = (p) => `${p.id} ${p.q} ${p.topic}`.toLowerCase();
  found = problems.filter((p) => keep(p) && words.every((w) => text(p).includes(w)));
  by("list").replaceChildren();
  shown = 0;
  more();
  by("count").textContent = `${found.length} of ${problems.length} problems`;
}

function fromAddress() {
  const wanted = location.hash.replace("#samples=", "");
  if (wanted in FILTERS) by("filter").value = wanted;
}

function move(step) {
  const all = [...document.querySelectorAll("#list summary")];
  const at = all.indexOf(document.activeElement);
  const next = all[at < 0 ? 0 : Math.max(0, Math.min(all.length - 1, at + step))];
  if (next) next.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (["INPUT", "SELECT", "TEXTAREA"].includes(document.activeElement.tagName)) return;
  if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "/") { event.preventDefault(); by("words").focus(); }
});

(async () => {
  try {
    problems = await unpacked();
  } catch (error) {
    by("count").textContent = "This browser cannot unpack the samples: " + error;
    return;
  }
  fromAddress();
  by("filter").addEventListener("change", refresh);
  by("words").addEventListener("input", refresh);
  by("more").addEventListener("click", more);
  addEventListener("hashchange", () => { fromAddress(); refresh(); });
  refresh();
})();
