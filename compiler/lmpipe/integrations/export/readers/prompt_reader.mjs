// Write the requests of an exported prompt and read the replies. Plain JavaScript: it runs as it is
// in Node 20, Deno and Bun; TypeScript finds its types in prompt_reader.d.mts.
//
//   const prompt = new Prompt(JSON.parse(readFileSync("route.json", "utf8")));
//   const body = prompt.request({ message: "It is late." }); // of POST /v1/chat/completions
//   const values = prompt.parse(reply.choices[0].message); // by name; if it throws, ask again
import * as extras from "./prompt_extras.mjs";

// White space as Python has it.
const BLANK = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";
const AROUND = "[ \\t\\r\\n.,;:!\"'`*()[\\]\u201c\u201d\u2018\u2019]";

const start = (text) => text.replace(new RegExp(`^${BLANK}+`, "u"), "");

/** Drop letters of a class at both ends. */
export function strip(text, letters = BLANK) {
  const [dropped, bounds] = [new RegExp(letters, "u"), [0, text.length]];
  while (bounds[0] < bounds[1] && dropped.test(text[bounds[0]])) bounds[0] += 1;
  while (bounds[0] < bounds[1] && dropped.test(text[bounds[1] - 1])) bounds[1] -= 1;
  return text.slice(...bounds);
}

/** Write a JSON value on one line; a `Number` object is a fraction, even if it is whole. */
export function dump(value) {
  if (value instanceof Number) {
    const [number, size] = [value.valueOf(), Math.abs(value)];
    if (size >= 1e16 || (size > 0 && size < 1e-5)) return number.toExponential();
    const text = Object.is(number, -0) ? "-0" : String(number);
    return Number.isInteger(number) ? `${text}.0` : text;
  }
  if (Array.isArray(value)) return `[${value.map(dump).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const members = Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}:${dump(item)}`);
  return `{${members.join(",")}}`;
}

export function spell(field, value) {
  const isText = typeof value === "string";
  const text = isText && !field.json ? value : dump(value);
  return isText ? text : (field.spelled[text] ?? text);
}

/** Drop blank lines before a text, one space, and white space after it. */
function trim(text) {
  const indent = text.slice(0, text.length - start(text).length).split(/[^ \t]/u).at(-1);
  return indent === " " || !strip(text) ? strip(text) : indent + strip(text);
}

/** Write a backslash before each line that looks like a mark, or take it back. */
function escape(text, rule, back = false) {
  const pattern = new RegExp(`^(?:${rule.pattern})`, "u");
  const change = (line) => (back ? line.replace(/^\\/u, "") : `\\${line}`);
  const found = (line, number) => (number ? rule.rest : rule.first) && pattern.test(line);
  return text.split("\n").map((line, n) => (found(line, n) ? change(line) : line)).join("\n");
}

export class Prompt {
  constructor(document) {
    this.doc = document;
    this.fields = { ...document.inputs, ...document.outputs };
  }

  request(inputs, vector) {
    return { ...this.doc.request, messages: this.messages(inputs, vector) };
  }

  messages(inputs, vector) {
    const values = this.complete("inputs", inputs);
    if (this.doc.extras) return extras.messages(this, values, vector);
    const first = this.doc.messages;
    const ending = this.doc.remind || first.length === 1 ? this.doc.reminder : "";
    const text = (this.write("question", values) || "Go ahead.") + ending;
    return [...first, { role: "user", content: text }];
  }

  /** Check values by name, and add those that may be left out. */
  complete(side, given) {
    const [fields, values] = [this.doc[side], { ...this.doc.defaults[side], ...given }];
    const wrong = [
      ...Object.keys(fields).filter((name) => !Object.hasOwn(values, name)),
      ...Object.keys(values).filter((name) => !Object.hasOwn(fields, name)),
    ];
    if (wrong.length) throw new Error(`missing or unknown: ${wrong.join(", ")}`);
    const checked = (name) => this.check(fields[name], values[name], side === "inputs");
    return Object.fromEntries(Object.keys(fields).map((name) => [name, checked(name)]));
  }

  /** `marked` makes a fraction a `Number` object, which is written like one if it is whole. */
  check(field, value, marked) {
    if (field.deep) return extras.fit(this, field, value, marked);
    if (value === null && field.optional) return null;
    const isNumber = typeof value === "number";
    const kind = isNumber ? (Number.isInteger(value) ? "integer" : "number") : typeof value;
    const size = typeof value === "string" ? [...value].length : value;
    const fits = field.kinds.includes(kind) && field.low <= size && size <= field.high;
    if (!fits || !new RegExp(field.match, "u").test(String(value))) {
      throw new Error(`${JSON.stringify(value).slice(0, 99)} is not ${JSON.stringify(field)}`);
    }
    return marked && field.kinds[0] === "number" ? new Number(value) : value;
  }

  write(side, values) {
    const template = this.doc[side];
    const texts = template.slots.filter((slot) => Object.hasOwn(values, slot.name)).map((slot) => {
      const value = values[slot.name];
      const text = template.json ? dump(value) : spell(this.fields[slot.name], value);
      return slot.before + escape(template.trim ? trim(text) : text, template.rule) + slot.after;
    });
    return template.open + texts.join(template.between) + template.close;
  }

  /** Read the outputs by name from a reply: its text, or the message that has it. */
  parse(reply) {
    const [how, message] = [this.doc.reply, typeof reply === "string" ? { content: reply } : reply];
    const called = message.tool_calls?.length;
    const text = called ? extras.called(this, message) : (message.content ?? "");
    const found = {};
    if (how.pattern) {
      const groups = new RegExp(how.pattern, "u").exec(text)?.slice(1) ?? [];
      groups.forEach((part, n) => {
        if (part !== undefined) found[how.names[n]] = escape(part, how.rule, true);
      });
    } else {
      const whole = JSON.parse(text.slice(text.indexOf("{"), text.lastIndexOf("}") + 1));
      for (const name of how.names) if (Object.hasOwn(whole, name)) found[name] = whole[name];
    }
    if (!Object.keys(found).length) {
      throw new Error(`the reply has none of ${how.names.join(", ")}: ${text.slice(0, 99)}`);
    }
    for (const [name, part] of Object.entries(found)) found[name] = this.read(this.fields[name], part);
    for (const name of how.thoughts) found[name] = message.reasoning_content ?? "";
    return this.complete("outputs", found);
  }

  read(field, part) {
    if (typeof part !== "string" || !field.worded) return part;
    const [word, words] = [strip(part), field.words];
    const folded = strip(word, AROUND).toLowerCase().replace(/[_-]/gu, " ");
    const bare = strip(word, "[ .\"'`]").toLowerCase();
    if (field.nones.includes(bare)) return null;
    if (Object.hasOwn(words, `=${word}`)) return words[`=${word}`];
    if (Object.hasOwn(words, folded)) return words[folded];
    const isNumber = field.number && new RegExp(`^(?:${field.number})$`, "u").test(word);
    if (isNumber) return JSON.parse(word.replaceAll(",", ""));
    return field.json ? JSON.parse(word) : trim(part);
  }
}
