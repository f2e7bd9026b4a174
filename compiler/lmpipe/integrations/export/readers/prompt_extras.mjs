// What only some prompts need beside prompt_reader.mjs: lists and objects, earlier turns of a
// conversation, images and other media, passages, the steps of an agent, and demonstrations that
// are chosen for each call.
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";

import { dump, spell, strip } from "./prompt_reader.mjs";

// What stands for a medium in a text: in its own place, or named there and shown below.
const [PLACED, NAMED, END] = ["\ufdd0", "\ufdd2", "\ufdd1"];
const AUDIO = { mpeg: "mp3", "x-wav": "wav", wave: "wav" };
const UNSPACED =
  "\\u0e00-\\u0eff\\u1000-\\u109f\\u1780-\\u17ff\\u3040-\\u30ff\\u3400-\\u4dbf\\u4e00-\\u9fff";
const WORD = new RegExp(`[${UNSPACED}]|(?:(?![${UNSPACED}])[\\p{L}\\p{N}])+`, "gu");

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const shown = (value) => JSON.stringify(value).slice(0, 99);

/** Check a value, and add the defaults that it lacks. */
export function fit(prompt, field, value, marked) {
  return fitTo(field.check, value, prompt.doc.types, marked);
}

function nameOf(value) {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value !== "number") return typeof value;
  return Number.isInteger(value) ? "integer" : "number";
}

function sizeOf(value) {
  if (typeof value === "number") return value;
  if (typeof value === "string") return [...value].length;
  return isObject(value) ? Object.keys(value).length : (value?.length ?? 0);
}

function fitTo(check, value, types, marked) {
  while ("ref" in check) check = types[check.ref];
  if ("any" in check) return onlyReading(check.any, value, types, marked);
  const [found, size] = [nameOf(value), sizeOf(value)];
  const kind = check.is ?? found;
  if (
    (kind !== found && !(kind === "number" && found === "integer")) ||
    !((check.low ?? size) <= size && size <= (check.high ?? size)) ||
    (check.of && !check.of.some((one) => keyOf(one) === keyOf(value))) ||
    (check.match && !new RegExp(check.match, "u").test(value))
  ) {
    throw new Error(`${shown(value)} does not fit ${shown(check)}`);
  }
  if (kind === "array" && "items" in check) {
    const items = value.map((item, n) => fitTo(check.places[n] ?? check.items, item, types, marked));
    return check.set ? inOrder(items) : items;
  }
  if (kind === "object" && "keys" in check) return fitObject(check, value, types, marked);
  if (check.code) return withoutFence(value);
  return marked && kind === "number" && "is" in check ? new Number(value) : value;
}

/** Return the code in a text, which may be fenced. */
function withoutFence(text) {
  const fences = text.split("\n").filter((line) => line.startsWith("```")).length;
  const fenced = /^\s*```[^`\n]*\n(?:([\s\S]*)\n)?```\s*$/u.exec(text);
  if (fences && !(fenced && fences === 2)) throw new Error(`${shown(text)} has code and other text`);
  return fenced ? (fenced[1] ?? "") : text;
}

/** The items of a set, in the order of their bytes. */
function inOrder(items) {
  const distinct = new Map(items.map((item) => [keyOf(item), item]));
  const keys = [...distinct.keys()].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return keys.map((key) => distinct.get(key));
}

function fitObject(check, value, types, marked) {
  const { keys, rest } = check;
  const unknown = Object.keys(value).filter((key) => !Object.hasOwn(keys, key));
  const none = unknown.length === Object.keys(value).length;
  if (unknown.length && (rest === false || (rest === null && none))) {
    throw new Error(`${shown(value)} has keys other than ${Object.keys(keys)}`);
  }
  const given = { ...check.defaults, ...value };
  const lacking = check.needs.filter((key) => !Object.hasOwn(given, key));
  if (lacking.length) throw new Error(`${shown(value)} lacks ${lacking}`);
  const known = Object.keys(keys).filter((key) => Object.hasOwn(given, key));
  const made = known.map((key) => [key, fitTo(keys[key], given[key], types, marked)]);
  const more = rest === null ? [] : unknown;
  return Object.fromEntries([
    ...made,
    ...more.map((key) => [key, fitTo(rest, value[key], types, marked)]),
  ]);
}

/** The only reading of a value that may be of several types. */
function onlyReading(options, value, types, marked) {
  const found = [];
  for (const option of options) {
    try {
      found.push(fitTo(option, value, types, marked));
    } catch {
      continue;
    }
  }
  if (new Set(found.map(keyOf)).size !== 1) {
    throw new Error(`${shown(value)} has ${found.length} readings`);
  }
  return found[0];
}

/** A JSON value with sorted keys: equal values have equal keys. */
function keyOf(value) {
  return JSON.stringify(value, (_, item) =>
    isObject(item) && !(item instanceof Number)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  );
}

/** Write the messages of a call, whose values are checked. The vector is the embedding of
 * `embeddedText`, if demonstrations are chosen by embeddings. */
export function messages(prompt, values, vector) {
  const { doc } = prompt;
  const turns = [...doc.messages, ...(doc.pool ? nearest(prompt, values, vector) : [])];
  let ending = doc.remind || turns.length === 1 ? doc.reminder : "";
  const apart = [...doc.histories, doc.steps.input];
  const given = Object.fromEntries(Object.entries(values).filter(([name]) => !apart.includes(name)));
  for (const turn of doc.histories.flatMap((name) => values[name]?.turns ?? [])) {
    if (Object.keys(turn).sort().join() === "content,role") {
      turns.push(turn);
      continue;
    }
    ending = "";
    const fitted = softly(prompt, turn);
    turns.push(userTurn(prompt, fitted), ...replyTurns(prompt, fitted));
  }
  for (const name of doc.histories) {
    const messages = values[name]?.messages ?? []; // as DSPy has them
    turns.push(...messages.flatMap((message) => dspyTurns(prompt, message)));
  }
  const trajectory = values[doc.steps.input] ?? {};
  const note = trajectory.left_out ? `\n\n${leftOut(trajectory)}` : "";
  const steps = doc.steps.native ? nativeSteps : writtenSteps;
  return [...turns, userTurn(prompt, given, ending + note), ...steps(prompt, trajectory)];
}

/** Write an earlier turn of a conversation as DSPy does. */
function dspyTurns(prompt, message) {
  const { inputs, outputs, answer, reminder } = prompt.doc;
  const given = Object.entries(message).filter(([name]) => Object.hasOwn(inputs, name));
  const replied = Object.keys(outputs).map((name) => [name, message[name] ?? null]);
  const asked = dspyText(prompt, "question", Object.fromEntries(given));
  const said = dspyText(prompt, "answer", Object.fromEntries(replied));
  const user = asked ? [{ role: "user", content: asked + reminder }] : [];
  return [...user, { role: "assistant", content: strip(said) + answer.close }];
}

function dspyText(prompt, side, values) {
  const { slots, between } = prompt.doc[side];
  const texts = slots
    .filter(({ name }) => Object.hasOwn(values, name))
    .map(({ name, before }) => before + dspyValue(prompt.fields[name], values[name]));
  return texts.join(between);
}

function dspyValue(field, value) {
  const isFraction = typeof value === "number" && !Number.isInteger(value);
  if (isFraction || (Array.isArray(value) && !field.deep)) {
    const given = JSON.stringify(value).slice(0, 99);
    throw new Error(`${given} in an earlier turn: give a text, or what is declared`);
  }
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  return typeof value === "object" ? spaced(value) : String(value);
}

function userTurn(prompt, values, ending = "") {
  const media = [];
  const inJson = prompt.doc.question.json;
  const written = {};
  for (const [name, value] of Object.entries(values)) {
    const field = prompt.doc.inputs[name];
    if (field) written[name] = show(field, value, inJson, media);
  }
  const text = prompt.write("question", written) || "Go ahead.";
  return { role: "user", content: media.length ? contentOf(text, media, ending) : text + ending };
}

/** Write a JSON value on one line, with blanks between its parts. */
function spaced(value) {
  if (Array.isArray(value)) return `[${value.map(spaced).join(", ")}]`;
  if (!isObject(value)) return dump(value);
  const members = Object.entries(value).map(([key, item]) => `${dump(key)}: ${spaced(item)}`);
  return `{${members.join(", ")}}`;
}

/** Write outputs as a reply; in the layout `tools` it is a call, and the note of its receipt. */
function replyTurns(prompt, outputs) {
  const [text, { tool }] = [prompt.write("answer", outputs), prompt.doc.answer];
  if (!tool) return [{ role: "assistant", content: text }];
  const call = callOf(text, tool, text);
  const said = { role: "assistant", content: null, tool_calls: [call] };
  return [said, { role: "tool", tool_call_id: call.id, content: "Received." }];
}

function callOf(named, tool, text) {
  const id = createHash("sha256").update(named).digest("hex").slice(0, 9);
  return { id, type: "function", function: { name: tool, arguments: text } };
}

/** An earlier turn with the defaults that it lacks; a wrong value stays as it is. */
function softly(prompt, turn) {
  const fitted = { ...turn };
  for (const [name, value] of Object.entries(turn)) {
    const field = prompt.fields[name];
    if (!field?.deep) continue;
    try {
      fitted[name] = fit(prompt, field, value, true);
    } catch {
      continue;
    }
  }
  return fitted;
}

/** Return the text of a reply that calls tools, as `parse` reads it. */
export function called(prompt, reply) {
  const calls = reply.tool_calls.map((call) => call.function);
  if (!prompt.doc.steps.native) {
    if (new Set(calls.map((call) => call.arguments)).size > 1) {
      throw new Error("the reply calls the tool more than once");
    }
    return calls[0].arguments || "{}";
  }
  const [thought, tool, args, more] = prompt.doc.steps.fields;
  const named = calls.map((call) => ({
    name: call.name,
    arguments: JSON.parse(call.arguments || "{}"),
  }));
  const said = (reply.content ?? "").trim();
  const [first, ...others] = named;
  return JSON.stringify({ [thought]: said, [tool]: first.name, [args]: first.arguments, [more]: others });
}

// Values that are shown as texts and media.

function show(field, value, inJson, media) {
  if (field.parts === "media") return withMarks(value, media, inJson ? NAMED : PLACED);
  if (field.parts === "spaced" && value !== null && typeof value !== "string") return spaced(value);
  if (field.parts === "trajectory" && value !== null) return trajectoryText(value);
  if (field.parts === "passages" && value !== null && (isObject(value) || value.length)) {
    if (isObject(value)) return passageText(field, value);
    const texts = value.map((item) => passageText(field, item));
    return inJson ? texts : texts.map((text, n) => `[${n + 1}] ${text}`).join("\n\n");
  }
  return value;
}

function passageText(field, value) {
  const heads = field.heads.map(([name, key]) => [name, words(value[key] ?? "")]);
  const lines = heads.filter(([, text]) => text).map(([name, text]) => `${name}: ${text}`);
  return lines.length ? [...lines, "", value.text].join("\n") : value.text;
}

const words = (text) => text.split(/[\s\x1c-\x1f\x85]+/u).filter(Boolean).join(" ");

/** Put marks in place of media. */
function withMarks(value, media, mark) {
  if (Array.isArray(value)) return value.map((item) => withMarks(item, media, NAMED));
  if (!isObject(value) || value instanceof Number) return value;
  if (isMedium(value)) {
    const [[kind, about]] = Object.entries(value);
    media.push([kind, partOf(kind, about)]);
    return `${mark}${media.length - 1}${END}`;
  }
  const members = Object.entries(value).map(([key, item]) => [key, withMarks(item, media, NAMED)]);
  return Object.fromEntries(members);
}

function isMedium(value) {
  const [[kind, about] = [], ...others] = Object.entries(value);
  const known = !others.length && ["image", "audio", "file"].includes(kind) && isObject(about);
  return known && ("data" in about || "url" in about);
}

/** Write a medium as a part of a message. */
function partOf(kind, about) {
  const url = about.url || `data:${about.media_type};base64,${about.data}`;
  if (kind === "image") {
    const detail = about.detail ? { detail: about.detail } : {};
    return { type: "image_url", image_url: { url, ...detail } };
  }
  if (about.url) throw new Error(`a chat completion takes no ${kind} at a URL: give its bytes`);
  if (kind === "audio") {
    const form = about.media_type.split("/")[1].split(";")[0];
    return { type: "input_audio", input_audio: { data: about.data, format: AUDIO[form] ?? form } };
  }
  const named = about.name ? { filename: about.name } : {};
  return { type: "file", file: { file_data: url, ...named } };
}

const textPart = (text) => ({ type: "text", text });

/** Cut a text at its marks; what is named there follows it. */
function contentOf(text, media, ending) {
  const [parts, after, counts] = [[], [], { image: 0, audio: 0, file: 0 }];
  for (const piece of text.split(new RegExp(`([${PLACED}${NAMED}][0-9]+${END})`, "u"))) {
    if (piece[0] !== PLACED && piece[0] !== NAMED) {
      parts.push(textPart(piece));
      continue;
    }
    const [kind, part] = media[Number(piece.slice(1, -1))];
    if (piece[0] === PLACED) {
      parts.push(part);
      continue;
    }
    counts[kind] += 1;
    const name = `<${kind} ${counts[kind]}>`;
    parts.push(textPart(name));
    after.push(textPart(`\n\n${name}\n`), part);
  }
  const joined = [];
  for (const part of [...parts, ...after]) {
    const last = joined.at(-1);
    if (last?.type === "text" && part.type === "text") joined[joined.length - 1] = textPart(last.text + part.text);
    else joined.push(part);
  }
  const kept = joined.filter((part) => part.type !== "text" || /[^\s\x1c-\x1f\x85]/u.test(part.text));
  const last = kept.at(-1);
  if (ending && last.type === "text") kept[kept.length - 1] = textPart(last.text + ending);
  else if (ending) kept.push(textPart(ending));
  return kept;
}

// The steps of an agent.

function leftOut(trajectory) {
  const count = trajectory.left_out;
  return `(${count} earlier step${count > 1 ? "s are" : " is"} left out.)`;
}

/** The parts of the result of a call, with a note if the call is repeated. */
function observed(about, action, earlier) {
  const note = earlier.includes(keyOf(action)) ? about.repeated : "";
  earlier.push(keyOf(action));
  const found = action.observation ?? "";
  if (typeof found === "string") return [textPart((found || about.empty) + note)];
  const parts = found.map((item) =>
    typeof item === "string" ? textPart(item) : partOf(...Object.entries(item)[0]),
  );
  return note ? [...parts, textPart(note)] : parts;
}

function textOrParts(parts) {
  if (parts.every((part) => part.type === "text")) return parts.map((part) => part.text).join("");
  return parts.filter((part) => part.type !== "text" || part.text);
}

/** Steps whose calls the LM wrote as text. */
function writtenSteps(prompt, trajectory) {
  const [about, turns, earlier] = [prompt.doc.steps, [], []];
  for (const step of trajectory.steps ?? []) {
    for (const action of step.actions) {
      const said = [step.thought ?? "", action.tool, action.arguments ?? {}];
      const outputs = Object.fromEntries(said.map((value, n) => [about.fields[n], value]));
      const head = (action.error ? about.failed : about.result).replace("{}", () => action.tool);
      const parts = [textPart(`${head}\n`), ...observed(about, action, earlier)];
      turns.push(...replyTurns(prompt, outputs), { role: "user", content: textOrParts(parts) });
    }
  }
  return turns;
}

/** Steps whose calls are native. */
function nativeSteps(prompt, trajectory) {
  const [about, turns, earlier] = [prompt.doc.steps, [], []];
  (trajectory.steps ?? []).forEach((step, n) => {
    const [calls, results, media] = [[], [], []];
    step.actions.forEach((action, place) => {
      const written = dump(action.arguments ?? {});
      const number = n + (trajectory.left_out ?? 0);
      const named = `(('', ${number}, ${place}), ${quoted(action.tool)}, ${quoted(written)})`;
      calls.push(callOf(named, action.tool, written));
      const parts = observed(about, action, earlier);
      const texts = parts.filter((part) => part.type === "text").map((part) => part.text);
      media.push(...parts.filter((part) => part.type !== "text"));
      const content = texts.join("") || about.media_below;
      results.push({ role: "tool", tool_call_id: calls.at(-1).id, content });
    });
    turns.push({ role: "assistant", content: step.thought || null, tool_calls: calls }, ...results);
    if (media.length) turns.push({ role: "user", content: media });
  });
  return turns;
}

/** Quote a text as Python does; the ids of calls are made of such texts. */
function quoted(text) {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const known = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", [quote]: `\\${quote}` };
  const escaped = [...text].map((letter) => {
    if (known[letter]) return known[letter];
    if (letter === " " || !/[\p{C}\p{Z}]/u.test(letter)) return letter;
    const code = letter.codePointAt(0).toString(16);
    const [mark, width] = code.length < 3 ? ["x", 2] : code.length < 5 ? ["u", 4] : ["U", 8];
    return `\\${mark}${code.padStart(width, "0")}`;
  });
  return quote + escaped.join("") + quote;
}

/** Write steps as one text, for the prompt that reads the answer from them. */
function trajectoryText(value) {
  const first = value.left_out ?? 0;
  const parts = first ? [leftOut(value)] : [];
  (value.steps ?? []).forEach((step, n) => {
    const thought = step.thought ? `\nThought: ${step.thought}` : "";
    const actions = step.actions.map((action) => `\n${actionText(action)}`);
    parts.push(`Step ${n + 1 + first}${thought}${actions.join("")}`);
  });
  return parts.join("\n\n") || "(no steps)";
}

function actionText(action) {
  const [found, args] = [action.observation ?? "", action.arguments ?? {}];
  if (typeof found !== "string" && !found.every((item) => typeof item === "string")) {
    throw new Error("media in the steps of an agent cannot be written as text");
  }
  const text = typeof found === "string" ? found : found.join("");
  if (action.tool === "python" && typeof args.code === "string") {
    return `Code:\n\`\`\`python\n${args.code}\n\`\`\`\nOutput:\n${text}`;
  }
  return `Call: ${action.tool}(${dump(args)})\n${action.error ? "Error" : "Result"}: ${text}`;
}

// Demonstrations that are chosen for each call.

/** The text of a call's inputs whose embedding chooses demonstrations. */
export function embeddedText(prompt, inputs) {
  return textOf(prompt, prompt.complete("inputs", inputs));
}

function textOf(prompt, values) {
  const texts = Object.entries(prompt.doc.inputs)
    .map(([name, field]) => [field, withoutMedia(values[name])])
    .filter(([field, value]) => !field.parts || value)
    .map(([field, value]) => spell(field, value));
  return texts.join(" ");
}

/** The turns of the demonstrations whose inputs are nearest to these; nearest last. */
function nearest(prompt, values, vector) {
  const { demos, k, vectors, embedder } = prompt.doc.pool;
  if (vectors && !vector) {
    throw new Error(`give the vector of embeddedText(prompt, inputs) by ${embedder}`);
  }
  const unit = vectors && unitOf(vector);
  const scores = vectors
    ? vectors.map((row) => row.reduce((sum, number, n) => sum + number * unit[n], 0))
    : wordScores(prompt.doc.pool, textOf(prompt, values));
  const open = demos.map((_, n) => n).filter((n) => keyOf(demos[n].inputs) !== keyOf(values));
  const ranked = open.sort((a, b) => scores[b] - scores[a] || a - b);
  const chosen = balanced(ranked, k, demos.map((demo) => demo.label));
  return chosen.reverse().flatMap((place) => demos[place].messages);
}

/** Okapi BM25, of which the index has each word's share, in steps of a millionth. */
function wordScores({ demos, index }, text) {
  const scores = demos.map(() => 0);
  for (const word of wordsIn(text)) {
    for (const [place, share] of Object.hasOwn(index, word) ? index[word] : []) scores[place] += share;
  }
  return scores.map((score) => Math.round(score * 1e6));
}

/** A vector of unit length in half floats; one of half floats is taken as it is. */
function unitOf(vector) {
  const halves = vector.map(halfOf);
  if (vector.every((number, n) => number === halves[n])) return halves;
  const largest = Math.max(...vector.map(Math.abs)) || 1;
  const scaled = vector.map((number) => number / largest);
  const length = Math.sqrt(scaled.reduce((sum, number) => sum + number * number, 0)) || 1;
  return scaled.map((number) => halfOf(number / length));
}

/** The nearest half float of a number; of two, the one whose last bit is 0. */
function halfOf(number) {
  const power = Math.max(Math.floor(Math.log2(Math.abs(number) || 1)), -14);
  const [unit, steps] = [2 ** (power - 10), number / 2 ** (power - 10)];
  const below = Math.floor(steps);
  const up = steps - below > 0.5 || (steps - below === 0.5 && below % 2 !== 0);
  return (up ? below + 1 : below) * unit;
}

/** The words of a text, regardless of case, as Python's `casefold` has it. */
export function wordsIn(text) {
  return fold(text.normalize("NFKC").replaceAll("\u1e9e", "ss")).match(WORD) ?? [];
}

function fold(text) {
  // Case is folded through the upper case (the sharp s as "SS"); the dotless i stays as it is.
  const lower = text.replace(/[^\u0131]+/gu, (part) => part.toUpperCase().toLowerCase());
  const cherokee = (letter, less) => String.fromCodePoint(letter.codePointAt(0) - less);
  return lower
    .replaceAll("\u03c2", "\u03c3")
    .replace(/[\uab70-\uabbf]/gu, (letter) => cherokee(letter, 0xab70 - 0x13a0))
    .replace(/[\u13f8-\u13fd]/gu, (letter) => cherokee(letter, 8));
}

function withoutMedia(value) {
  if (Array.isArray(value)) return value.map(withoutMedia);
  if (!isObject(value) || value instanceof Number) return value;
  if (isMedium(value)) return null;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withoutMedia(item)]));
}

/** Choose at most k / number of labels of each label first, then the nearest of the others. */
function balanced(ranked, k, labels) {
  if (labels.includes(null)) return ranked.slice(0, k);
  const most = Math.ceil(k / new Set(labels).size);
  const [taken, passed] = [[], []];
  for (const place of ranked) {
    const same = taken.filter((other) => labels[other] === labels[place]).length;
    (same < most && taken.length < k ? taken : passed).push(place);
  }
  const chosen = new Set([...taken, ...passed.slice(0, k - taken.length)]);
  return ranked.filter((place) => chosen.has(place));
}
