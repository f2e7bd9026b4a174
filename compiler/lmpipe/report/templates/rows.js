// The browser of rows: packed JSON in, elements out. All text is set as text, never as HTML.
"use strict";
const PAGE = 50;
const box = document.getElementById("row-browser");
const size = Number(box.dataset.size);
const state = { kind: "all", words: "", sort: "row", first: 0, rows: [] };
const unpacked = new Map();

async function unpack(id) {
  if (!unpacked.has(id)) unpacked.set(id, read(document.getElementById(id).textContent));
  return unpacked.get(id);
}

async function read(packed) {
  const bytes = Uint8Array.from(atob(packed.trim()), (sign) => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

function make(tag, name, ...inner) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...inner.filter((item) => item !== null));
  return element;
}

const percent = (score) => `${(100 * score).toFixed(1)}%`;
const number = (value) => value.toLocaleString("en-US");
const rowsOf = (count) => `${number(count)} ${count === 1 ? "row" : "rows"}`;

// Two programs are before and after; among more, one is only different.
function kindOf([scores]) {
  const [first, last] = [scores[0], scores.at(-1)];
  if (scores.every((score) => score === first)) return "same";
  if (scores.length > 2) return "different";
  return last > first ? "better" : "worse";
}

const KINDS = {
  all: () => true,
  worse: (row) => kindOf(row) === "worse",
  better: (row) => kindOf(row) === "better",
  different: (row) => kindOf(row) === "different",
  wrong: ([scores]) => scores.at(-1) < 1,
  failed: ([, failure]) => failure !== "",
};
const change = ([scores]) => Math.max(...scores) - Math.min(...scores);
const SORTS = {
  row: () => 0,
  change: (one, other) => change(other.row) - change(one.row),
  lowest: (one, other) => one.row[0].at(-1) - other.row[0].at(-1),
};

function chosen() {
  const words = state.words.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [];
  state.rows.forEach((row, place) => {
    const text = row.slice(1).join(" ").toLowerCase();
    if (KINDS[state.kind](row) && words.every((word) => text.includes(word))) {
      found.push({ row, place });
    }
  });
  return found.sort(SORTS[state.sort]);
}

function show() {
  const found = chosen();
  state.first = Math.min(state.first, Math.max(0, Math.ceil(found.length / PAGE) - 1) * PAGE);
  const shown = found.slice(state.first, state.first + PAGE);
  box.querySelector(".list").replaceChildren(...shown.map(line));
  const last = state.first + shown.length;
  box.querySelector(".found").textContent = shown.length
    ? `${number(state.first + 1)} to ${number(last)} of ${rowsOf(found.length)}`
    : "No row is like this.";
  box.querySelector(".turn").hidden = found.length <= PAGE;
  box.querySelector(".back").disabled = state.first === 0;
  box.querySelector(".on").disabled = last >= found.length;
}

function line({ row, place }) {
  const [values, failure, inputs, answer] = row;
  const kind = kindOf(row);
  // Figure spaces, as wide as digits, so that the scores of many programs are columns.
  const scores = values.length > 2
    ? values.map((score) => percent(score).padStart(6, "\u2007")).join(" · ")
    : values.map(percent).join(" → ");
  const summary = make("summary", "",
    make("span", "place", `${number(place + 1)}`),
    make("span", "what", inputs),
    make("span", "answer", failure ? `${failure} failure` : answer),
    make("span", `mark ${kind}`, scores, make("span", "hidden", `, ${kind}`)));
  const details = make("details", `entry ${kind}`, summary);
  details.id = `row-${place + 1}`;
  details.addEventListener("toggle", () => open(details, place));
  return make("li", "", details);
}

async function open(details, place) {
  if (!details.open || details.childElementCount > 1) return;
  const body = make("div", "trace");
  details.append(body);
  const block = await unpack(`rows-${Math.floor(place / size)}`);
  const found = block[place % size];
  body.append(
    facts(found.inputs),
    outputs(found),
    make("div", "sides", ...found.sides.map((side) => trace(side, found.sides.length > 1))));
}

function facts(values) {
  const list = make("dl");
  for (const [name, value] of values) {
    list.append(make("dt", "", name), make("dd", "", value));
  }
  return list;
}

function outputs({ gold, sides }) {
  const columns = [["gold", gold], ...sides.map((side) => [side.name, side.outputs])]
    .map(([title, values]) => [title, new Map(values)]);
  const labels = columns[0][1];
  const names = new Set(columns.flatMap(([, values]) => [...values.keys()]));
  const head = make("tr", "", ...["output", ...columns.map(([title]) => title)].map((title) => {
    const cell = make("th", "text", title);
    cell.scope = "col";
    return cell;
  }));
  const rows = [...names].map((name) => make("tr", "", make("td", "text", name),
    ...columns.map(([, values]) => {
      const wrong = labels.has(name) && values.get(name) !== labels.get(name);
      return make("td", `text ${wrong ? "wrong" : ""}`, values.get(name) ?? "–");
    })));
  const table = make("table", "", make("thead", "", head), make("tbody", "", ...rows));
  const scroll = make("div", "scroll", table);
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", "Gold and predicted outputs");
  return scroll;
}

function trace(side, several) {
  const title = several ? `${side.name}, ${percent(side.score)}` : percent(side.score);
  const notes = [["failure", side.failure], ["feedback", side.feedback]];
  const steps = [...side.calls, ...side.tools].map(({ about, reply }) => make("li", "",
    make("div", "soft small", about), reply ? make("pre", "", reply) : null));
  return make("section", "side", make("h3", "", title), facts(notes.filter(([, text]) => text)),
    steps.length ? make("ol", "steps", ...steps) : make("p", "soft small", "No LM call."));
}

function choose(change) {
  Object.assign(state, { first: 0 }, change);
  show();
}

async function start() {
  state.rows = await unpack("rows-index");
  box.querySelector(".list").classList.toggle("many", state.rows[0][0].length > 2);
  for (const input of box.querySelectorAll("[name=rows]")) {
    const count = state.rows.filter(KINDS[input.value]).length;
    input.nextElementSibling.append(` ${number(count)}`);
    input.disabled = count === 0;
    input.addEventListener("change", () => choose({ kind: input.value }));
  }
  box.querySelector("[type=search]").addEventListener(
    "input", (event) => choose({ words: event.target.value }));
  box.querySelector("select").addEventListener(
    "change", (event) => choose({ sort: event.target.value }));
  const turn = (step) => {
    state.first += step;
    show();
    box.querySelector(".found").focus();
  };
  box.querySelector(".back").addEventListener("click", () => turn(-PAGE));
  box.querySelector(".on").addEventListener("click", () => turn(PAGE));
  document.getElementById("no-rows").remove();
  box.hidden = false;
  show();
  linked();
}

// `#row-17` opens a row, so that it can be pointed to.
function linked() {
  const place = Number(location.hash.match(/^#row-(\d+)$/)?.[1]);
  if (!place || place > state.rows.length) return;
  box.querySelector("[name=rows][value=all]").checked = true;
  Object.assign(state, { kind: "all", words: "", sort: "row" });
  box.querySelector("[type=search]").value = "";
  box.querySelector("select").value = "row";
  state.first = Math.floor((place - 1) / PAGE) * PAGE;
  show();
  const details = document.getElementById(`row-${place}`);
  details.open = true;
  details.scrollIntoView();
}

addEventListener("hashchange", linked);
// After the page has been seen once: rows are at its end.
requestAnimationFrame(() => setTimeout(start));
