// Run the exported JavaScript reader: `node run_jobs.mjs FOLDER`, jobs as JSON. It is not exported.
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const folder = resolve(process.argv[2]);
const { Prompt } = await import(pathToFileURL(join(folder, "prompt_reader.mjs")).href);
const prompts = {};
const results = JSON.parse(readFileSync(0, "utf8")).map((job) => {
  prompts[job.file] ??= new Prompt(JSON.parse(readFileSync(join(folder, job.file), "utf8")));
  try {
    const prompt = prompts[job.file];
    return ["inputs" in job ? prompt.messages(job.inputs, job.vector) : prompt.parse(job.reply)];
  } catch (error) {
    return { error: String(error) };
  }
});
process.stdout.write(JSON.stringify(results));
