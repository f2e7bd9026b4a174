// Runs lmpipe's child.py in Pyodide, inside Deno. Its arguments: the folder of Pyodide, child.py,
// and the time that the code sees, in milliseconds since 1970, or nothing for the real one.
const [folder, child, now] = Deno.args;
const source = Deno.readTextFileSync(child);
const { loadPyodide } = await import(`file://${folder}/pyodide.mjs`);

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const { stdin, stdout } = Deno;

function sendLine(text) {
  const bytes = encoder.encode(text + "\n");
  for (let done = 0; done < bytes.length; ) done += stdout.writeSync(bytes.subarray(done));
}

let buffered = [];
const chunk = new Uint8Array(1 << 16);
let rest = new Uint8Array(0);

function receive() {
  buffered = [];
  for (;;) {
    const end = rest.indexOf(10);
    if (end >= 0) {
      buffered.push(rest.slice(0, end));
      rest = rest.slice(end + 1);
      return decoder.decode(joined());
    }
    buffered.push(rest);
    const size = stdin.readSync(chunk);
    if (size === null) Deno.exit(0); // the host has ended
    rest = chunk.slice(0, size);
  }
}

function joined() {
  const whole = new Uint8Array(buffered.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of buffered) {
    whole.set(part, place);
    place += part.length;
  }
  return whole;
}

const python = await loadPyodide({
  indexURL: folder,
  env: { HOME: "/home/pyodide", PYTHONHASHSEED: "0", _: "python" },
  jsglobals: Object.create(null), // what `import js` sees
  stdin: () => null,
});
// Everything is loaded: from here on, no file can be read.
for (const name of ["read", "write", "net", "env", "run", "ffi", "sys", "import"]) {
  try {
    Deno.permissions.revokeSync({ name });
  } catch {
    // An older Deno does not know this permission, so nothing has it.
  }
}
if (now) Date.now = () => Number(now);
const scope = python.toPy({});
python.runPython(source, { globals: scope });
python.runPython("import random; random.seed(0)");
scope.get("serve")(sendLine, receive);
Deno.exit(0);
